"""What a check of the store asks of the database, and what it finds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from plait.model.ids import CommitId, ManifestId, ObjectId
from plait_registry.domain.records import CommitRow, FileRow, RepositoryId


class FindingKind(StrEnum):
    """What a check finds; append-only, since programs act on it."""

    OBJECT_MISSING = "object-missing"  # the store has not what the database names
    OBJECT_SIZE = "object-size"  # the store has it with another size
    OBJECT_CORRUPT = "object-corrupt"  # its bytes are not what its name says
    DOCUMENT_MISSING = "document-missing"  # a commit, manifest or list of extents
    DOCUMENT_CORRUPT = "document-corrupt"
    FILE_EXTENTS = "file-extents"  # a file's extents do not make up the file
    FILE_MISSING = "file-missing"  # a version names a file that the repository does not hold
    COMMIT_CORRUPT = "commit-corrupt"  # a row is not what its id says, or not its place in history
    MANIFEST_CORRUPT = "manifest-corrupt"
    HISTORY_BROKEN = "history-broken"  # a repository lacks a parent of what it holds
    STRAY_OBJECT = "stray-object"  # garbage, no damage
    DELETION_UNFINISHED = "deletion-unfinished"  # garbage too


HARMLESS = frozenset({FindingKind.STRAY_OBJECT, FindingKind.DELETION_UNFINISHED})
"""What garbage collection will see to."""


class DocumentKind(StrEnum):
    """What small objects the registry writes itself."""

    COMMIT = "commit"
    MANIFEST = "manifest"
    EXTENTS = "extents"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found."""

    kind: FindingKind
    subject: str
    """An id."""
    problem: str
    advice: str
    repositories: tuple[str, ...] = ()
    """Those whose versions need it."""

    @property
    def is_damage(self) -> bool:
        """Whether something that is needed is lost or wrong."""
        return self.kind not in HARMLESS


class InspectionTable(Protocol):
    """All rows, a part at a time; whatever repository holds them."""

    def list_objects(self, prefix: str) -> Mapping[ObjectId, int]:
        """Return the objects whose ids begin so, with their sizes."""

    def list_documents(self, prefix: str) -> Mapping[ObjectId, DocumentKind]:
        """Return the documents whose ids begin so."""

    def find_sizes(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, int]:
        """Return the sizes of those of `objects` that have a row."""

    def page_files(self, after: str, limit: int) -> Sequence[FileRow]:
        """Return files after a digest, in order, without their tensors."""

    def page_commits(self, after: str, limit: int) -> Sequence[CommitRow]:
        """Return commits after an id, in order."""

    def page_manifests(self, after: str, limit: int) -> Sequence[tuple[ManifestId, bytes]]:
        """Return manifests after an id, in order."""

    def find_places(self, commits: Collection[CommitId]) -> Mapping[CommitId, tuple[int, int]]:
        """Return generation and depth of those of `commits` that are there."""

    def find_documented(self, documents: Collection[ObjectId]) -> Sequence[ObjectId]:
        """Return the files whose extents are in one of `documents`."""

    def find_users(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, Sequence[ObjectId]]:
        """Return the files that lie in each of `objects`."""

    def find_holders(
        self, kind: DocumentKind, ids: Collection[str]
    ) -> Mapping[str, Sequence[RepositoryId]]:
        """Return the repositories that hold each commit, manifest or file (`EXTENTS`)."""
