"""The table of pushes under way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from plait.model.ids import ObjectId
from plait_registry.domain.records import (
    PushId,
    PushRow,
    RepositoryId,
    StagedCommit,
    StagedManifest,
    UploadRow,
)


class PushTable(Protocol):
    """Pushes under way."""

    def insert(self, push: PushRow) -> None:
        """Add an open push."""

    def get(self, repository: RepositoryId, push: PushId) -> PushRow:
        """Return a push of the repository.

        Raises:
            NotFound: `push-not-found`.
        """

    def stage(
        self, push: PushId, commits: Sequence[StagedCommit], manifests: Sequence[StagedManifest]
    ) -> None:
        """Add commits, in order, and manifests to an open push; those there already stay."""

    def load_staged(self, push: PushId) -> tuple[Sequence[StagedCommit], Sequence[StagedManifest]]:
        """Return what was staged, commits in the order in which they came."""

    def insert_uploads(self, uploads: Sequence[UploadRow]) -> None:
        """Remember announced objects; one that is there already stays as it is."""

    def find_uploads(
        self, repository: RepositoryId, files: Collection[ObjectId]
    ) -> Sequence[UploadRow]:
        """Return the objects that were announced for `files`, oldest first."""

    def forget_uploads(
        self,
        repository: RepositoryId,
        objects: Collection[ObjectId],
        file: ObjectId | None = None,
    ) -> None:
        """Drop announced objects, of one file or with None of all, so that they are sent anew."""

    def complete(
        self, push: PushId, result: Mapping[str, Any], files: Collection[ObjectId]
    ) -> None:
        """Close a push with its answer; drop what it staged and the uploads of `files`."""
