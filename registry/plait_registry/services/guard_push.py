"""What a push looks at so that garbage collection takes nothing from under it.

Why that is enough, `plait_registry.services.sweep_objects` argues.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from plait.errors import NotFound, Unavailable
from plait.model import canonical
from plait.model.ids import CommitId, ObjectId, abbreviate
from plait.model.manifest import Manifest
from plait_registry.domain.manifest_files import find_files
from plait_registry.domain.ports import Records
from plait_registry.domain.records import (
    Extent,
    ObjectRow,
    PushRow,
    PushState,
    RepositoryRecord,
    StagedManifest,
)


@dataclass(frozen=True, slots=True)
class Reused:
    """What a push builds on without bringing it."""

    known: Collection[ObjectId]
    """Files."""
    extents: Sequence[Sequence[Extent]]
    """Where the files are that were verified: in objects of this push and in others."""
    commits: Collection[CommitId]


def verify_not_condemned(records: Records, objects: Collection[ObjectId]) -> None:
    """Check that none of `objects` is being deleted from the store.

    Raises:
        Unavailable: `busy`.
    """
    condemned = records.condemned.find(objects)
    if condemned:
        raise Unavailable(
            "busy",
            f"The object {abbreviate(min(condemned))} is being removed by garbage collection right "
            "now: try again in a moment.",
        )


def reserve_documents(records: Records, push: PushRow, documents: Collection[ObjectId]) -> None:
    """Keep garbage collection away from documents that an open push is about to write.

    Raises:
        NotFound: `push-not-found`, garbage collection ended the push.
        Unavailable: `busy`, a document is being deleted.
    """
    if records.pushes.get(push.repository, push.id).state is PushState.OPEN:
        records.condemned.reserve(push.id, documents)
    verify_not_condemned(records, documents)


def verify_intact(
    records: Records, repository: RepositoryRecord, reused: Reused, fresh: Sequence[ObjectRow]
) -> None:
    """Check, in the transaction that completes a push, that all it builds on is still there.

    Raises:
        NotFound: `object-not-found`, garbage collection took something: push again.
        Unavailable: `busy`, it is about to.
    """
    brought = {row.sha256 for row in fresh}
    verify_not_condemned(records, brought)
    files = set(reused.known) - records.files.load_extents(None, reused.known).keys()
    others = {extent.object for extents in reused.extents for extent in extents} - brought
    objects = others - records.files.find_objects(others)
    commits = set(reused.commits) - records.commits.load(repository.id, reused.commits).keys()
    for missing in sorted({*files, *objects, *commits}):
        raise NotFound(
            "object-not-found",
            f"{abbreviate(missing)}, which the push builds on, was removed by garbage collection "
            "meanwhile: push again, and it is sent anew.",
        )


def verify_commit_held(records: Records, repository: RepositoryRecord, commit: CommitId) -> None:
    """Check, in the transaction that makes a ref point at a commit, that it is still there.

    Raises:
        NotFound: `commit-not-found`.
    """
    if commit not in records.commits.load(repository.id, [commit]):
        raise NotFound(
            "commit-not-found",
            f"The commit {abbreviate(commit)} is not in {repository.name} any more, since no ref "
            "reached it: push it again.",
        )


def find_restored(
    records: Records, repository: RepositoryRecord, manifests: Sequence[StagedManifest]
) -> list[Manifest]:
    """Return those staged manifests of versions that the repository has whose weights expired.

    A push that sends such a version again brings its weights back.
    """
    named = {item.id: {file.sha256 for file in find_files(item.body)} for item in manifests}
    held = records.files.load_manifests(repository.id, named)
    files = {file for key in held for file in named[key]}
    expired = records.held.find_expired(repository.id, files)
    return [
        Manifest.from_json(canonical.loads(body))
        for key, body in held.items()
        if not named[key].isdisjoint(expired)
    ]
