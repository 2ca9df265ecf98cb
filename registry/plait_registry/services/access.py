"""Finding a repository for a caller, in the transaction that goes on to use it."""

from __future__ import annotations

from plait.errors import NotFound
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, abbreviate
from plait_registry.domain.access import Caller, Right, verify_right
from plait_registry.domain.account_errors import missing_namespace
from plait_registry.domain.policy import missing_repository
from plait_registry.domain.ports import Records
from plait_registry.domain.records import CommitRow, RepositoryRecord


def find_repository(
    records: Records, caller: Caller, name: RepositoryName, need: Right
) -> RepositoryRecord:
    """Return a repository in which the caller has the right that is needed.

    Raises:
        NotFound: `repository-not-found`, it is not there or the caller may not see it: the two
            cannot be told apart.
        PermissionDenied: `permission-denied`, the caller may see it, and not do this.
    """
    repository = records.repositories.get(name)
    have = caller.right_to(repository.name, private=repository.private)
    if have < Right.READ:
        raise missing_repository(name)
    verify_right(caller, have, need, str(repository.name))
    return repository


def get_commit(records: Records, repository: RepositoryRecord, commit: CommitId) -> CommitRow:
    """Return a commit of a repository.

    Raises:
        NotFound: `commit-not-found`.
    """
    row = records.commits.load(repository.id, [commit]).get(commit)
    if row is None:
        raise NotFound(
            "commit-not-found", f"The commit {abbreviate(commit)} is not in {repository.name}."
        )
    return row


def right_to(caller: Caller, repository: RepositoryRecord) -> Right:
    """Return what a caller may do in a repository."""
    return caller.right_to(repository.name, private=repository.private)


def verify_namespace_right(caller: Caller, namespace: str, need: Right) -> None:
    """Check what a caller may do in all of a namespace.

    Raises:
        NotFound: `namespace-not-found`, the caller has no role there.
        PermissionDenied: `permission-denied`, the role is not enough.
    """
    have = caller.right_in(namespace)
    if have < Right.READ:
        raise missing_namespace(namespace)
    verify_right(caller, have, need, f"the namespace {namespace}")
