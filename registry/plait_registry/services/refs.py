"""Listing, making, moving and deleting branches and tags."""

from __future__ import annotations

from collections.abc import Sequence

from plait.errors import Conflict, NotFound
from plait.model.address import RepositoryName
from plait.model.commit_graph import is_ancestor
from plait.model.ids import CommitId, abbreviate
from plait.model.refs import Ref, RefKind, RefName, RefUpdate
from plait.model.revision import resolve_revision
from plait_registry.domain.ports import Database
from plait_registry.domain.records import RepositoryRecord
from plait_registry.domain.ref_update import verify_expected, verify_fast_forward
from plait_registry.services.commit_source import RecordsSource


class ListRefs:
    """Lists the refs of a repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, name: RepositoryName) -> tuple[RepositoryRecord, Sequence[Ref]]:
        """Return the repository and all of its refs, sorted by kind and name."""
        with self._database.read() as records:
            repository = records.repositories.get(name)
            return repository, records.refs.list(repository.id)


class CreateRef:
    """Makes a branch or tag at a revision that is there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, name: RepositoryName, kind: RefKind, ref: RefName, revision: str) -> Ref:
        """Return the new ref; the same one again is fine.

        Raises:
            NotFound: `revision-not-found`.
            Conflict: `ref-update-conflict`, the name points elsewhere; `tag-name-retired`.
            AlreadyExists: `ref-exists`, the name is that of a ref of the other kind.
        """
        with self._database.read() as records:
            repository = records.repositories.get(name)
            target = resolve_revision(revision, RecordsSource(records, repository))
        with self._database.write() as records:
            records.refs.compare_and_set(repository.id, RefUpdate(kind, ref, None, target))
            return Ref(kind, ref, target)


class MoveRef:
    """Moves a branch between commits that are there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, name: RepositoryName, update: RefUpdate) -> Ref:
        """Return the moved ref.

        Raises:
            NotFound: `commit-not-found`.
            Conflict: `ref-update-conflict`, or `ref-not-fast-forward` without force.
        """
        # Histories never change, so that only the swap itself has to keep other writers waiting.
        with self._database.read() as records:
            repository = records.repositories.get(name)
            if update.new not in records.commits.load(repository.id, [update.new]):
                raise NotFound(
                    "commit-not-found",
                    f"The commit {abbreviate(update.new)} is not in {name}: push it first.",
                )
            verify_expected(update, records.refs.find(repository.id, update.name))
            if update.expected is not None and not update.force:
                source = RecordsSource(records, repository)
                forward = is_ancestor(source, update.expected, update.new)
                verify_fast_forward(update, forward=forward)
        with self._database.write() as records:
            records.refs.compare_and_set(repository.id, update)
            return Ref(update.kind, update.name, update.new)


class DeleteRef:
    """Deletes a branch or tag; what it pointed at stays until garbage collection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(
        self, name: RepositoryName, kind: RefKind, ref: RefName, expected: CommitId
    ) -> None:
        """Delete the ref if it points at `expected`.

        Raises:
            NotFound: `ref-not-found`, also where the name is of the other kind.
            Conflict: `ref-update-conflict`; the default branch cannot be deleted.
        """
        with self._database.write() as records:
            repository = records.repositories.get(name)
            current = records.refs.find(repository.id, ref)
            if current is None or current.kind is not kind:
                raise NotFound("ref-not-found", f"There is no {kind} {ref!r} in {name}.")
            if ref == repository.default_branch:
                raise Conflict(
                    "default-branch",
                    f"{ref!r} is the default branch of {name} and cannot be deleted.",
                )
            records.refs.delete(repository.id, ref, expected)
