"""Pushing a folder as the next version of a branch, in one step and without a working copy.

(1) describe the folder and check that it holds an adapter;
(2) see where the branch is; an absent repository is made where the caller allows that;
(3) if the branch's version has the same files, and came about in the same way where that is not
    training, there is nothing to do;
(4) else commit on top of it and push, expecting the branch where (2) saw it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plait import wire
from plait.describe import Description, describe_folder, find_base, verify_adapter_folder
from plait.errors import AlreadyExists, Conflict, NotFound
from plait.lookup import load_commit, load_refs, resolve
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit, Origin, OriginKind, Person, clean_message
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.refs import DEFAULT_BRANCH, RefKind, RefName, RefUpdate
from plait.model.repository_kind import RepositoryKind
from plait.progress import NO_PROGRESS, Progress
from plait.push import PushRequest, push_commits
from plait.transport import Transport
from plait.wire import API_PREFIX

METRICS = "metrics"
"""The kind of note that metrics hang on a commit as."""


@dataclass(frozen=True, slots=True)
class FolderPush:
    """What to push, and what its commit shall say."""

    folder: Path
    message: str
    author: Person
    time: str
    """UTC, as 2026-11-24T06:07:00Z."""
    branch: RefName = DEFAULT_BRANCH
    base: Base | None = None
    """None: what the adapter's config names."""
    origin: Origin = field(default_factory=lambda: Origin(OriginKind.TRAINING))
    metrics: Mapping[str, Any] | None = None
    """Hung on the new commit as a note; there is none where nothing is new."""
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Other notes on the new commit, by their kinds."""
    create: bool = False
    """Make the repository where it is absent."""
    kind: RepositoryKind = RepositoryKind.ADAPTER
    """Of a repository that is made."""
    allow_non_finite: bool = False


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where the branch is now."""

    commit: CommitId
    manifest: ManifestId
    branch: RefName
    result: wire.PushResult | None
    """None: the branch had this version already, and nothing was sent."""
    skipped: tuple[str, ...]
    """Trainer state in the folder that is no part of the version."""

    @property
    def is_new(self) -> bool:
        """Whether a commit was made."""
        return self.result is not None


def push_folder(
    transport: Transport,
    repository: RepositoryName,
    wish: FolderPush,
    progress: Progress = NO_PROGRESS,
) -> Pushed:
    """Push as the module says.

    Raises:
        InvalidInput: the folder is no version of an adapter; the message says what to do.
        NotFound: the repository is not there, and `create` is off.
        Conflict: somebody else moved the branch meanwhile; nothing was published.
    """
    clean_message(wish.message)  # raises before anything is read
    # (1) describe.
    description = describe_folder(wish.folder, progress=progress)
    verify_adapter_folder(description)
    base = find_base(description.config, wish.base)
    return push_version(transport, repository, replace(wish, base=base), description, progress)


def push_version(
    transport: Transport,
    repository: RepositoryName,
    wish: FolderPush,
    description: Description,
    progress: Progress = NO_PROGRESS,
) -> Pushed:
    """Push what was described, from step (2) on.

    Raises:
        InvalidInput: `base-unknown`, the wish names no base; or the registry refused the version.
        NotFound: the repository is not there, and `create` is off.
        Conflict: somebody else moved the branch meanwhile; nothing was published.
    """
    base = find_base(description.config, wish.base)
    manifest_id = description.manifest.id

    # (2) find the branch.
    head = find_head(transport, repository, wish.branch, create=wish.create, kind=wish.kind)

    # (3) compare.
    if head is not None and _is_there(transport, repository, head, wish.origin, manifest_id):
        return Pushed(head, manifest_id, wish.branch, None, description.skipped)

    # (4) commit and push.
    commit = Commit(
        manifest=manifest_id,
        parents=() if head is None else (head,),
        author=wish.author,
        time=wish.time,
        message=clean_message(wish.message),
        base=base,
        origin=wish.origin,
    )
    request = _make_request(wish, commit, head, description)
    try:
        result = push_commits(transport, repository, request, progress)
    except Conflict as error:
        raise explain_conflict(error, repository, wish.branch) from error
    return Pushed(request.update.new, manifest_id, wish.branch, result, description.skipped)


def create_repository(
    transport: Transport,
    repository: RepositoryName,
    *,
    description: str = "",
    private: bool = True,
    kind: RepositoryKind = RepositoryKind.ADAPTER,
) -> wire.Repository:
    """Make an empty repository.

    Raises:
        AlreadyExists: `repository-exists`.
    """
    body = wire.NewRepository(
        repository.namespace, repository.name, description, private, kind.value
    )
    answer = transport.call("POST", f"{API_PREFIX}/repositories", body=wire.encode(body))
    return wire.decode(wire.Repository, answer)


def find_head(
    transport: Transport,
    repository: RepositoryName,
    branch: RefName,
    *,
    create: bool,
    kind: RepositoryKind = RepositoryKind.ADAPTER,
) -> CommitId | None:
    """Return where a branch is; an absent repository is made where `create` allows that.

    Raises:
        NotFound: `repository-not-found`.
    """
    try:
        return load_refs(transport, repository).branches.get(branch)
    except NotFound as error:
        if error.kind != "repository-not-found":
            raise
        if not create:
            raise NotFound(
                error.kind,
                f"There is no repository {repository} here, or you may not see it: make it with "
                f"`plait repo create {repository}`, or let it be made with --create (create=True "
                "in Python).",
                **error.details,
            ) from error
    try:
        create_repository(transport, repository, kind=kind)
    except AlreadyExists:
        # Somebody else made it since we looked.
        return load_refs(transport, repository).branches.get(branch)
    return None


def _is_there(
    transport: Transport,
    repository: RepositoryName,
    head: CommitId,
    origin: Origin,
    manifest: ManifestId,
) -> bool:
    """Tell whether a branch's version has these files already, and came about in this way.

    Who trains pushes files: the same ones again are nothing new, whatever origin they have there.
    """
    _, current = resolve(transport, repository, head)
    if current != manifest or origin.kind is OriginKind.TRAINING:
        return current == manifest
    return load_commit(transport, repository, head).commit.origin == origin


def _make_request(
    wish: FolderPush, commit: Commit, head: CommitId | None, description: Description
) -> PushRequest:
    sources = {file.sha256: description.sources[file.path] for file in description.manifest.files}

    def find_file(digest: ObjectId) -> Path:
        return sources[digest]

    commit_id = commit.id
    notes = [wire.PushNote(commit_id, kind, dict(body)) for kind, body in wish.notes.items()]
    if wish.metrics is not None:
        notes.append(wire.PushNote(commit_id, METRICS, dict(wish.metrics)))
    return PushRequest(
        update=RefUpdate(RefKind.BRANCH, wish.branch, head, commit_id),
        commits=[commit],
        manifests={commit.manifest: description.manifest},
        find_file=find_file,
        notes=notes,
        allow_non_finite=wish.allow_non_finite,
    )


def explain_conflict(error: Conflict, repository: RepositoryName, branch: RefName) -> Conflict:
    """Return what a conflict means to whoever wanted to put a version on top of a branch."""
    if error.kind != "ref-update-conflict":
        return error
    return Conflict(
        error.kind,
        f"Somebody else pushed to {branch} of {repository} at the same time, and theirs came "
        f"first. Nothing of yours was published and nothing is lost: look at their version "
        f"(`plait log {repository}@{branch}`), then push again to put yours on top of it, or push "
        f"to a branch of your own ({repository}@NAME).",
        **error.details,
    )
