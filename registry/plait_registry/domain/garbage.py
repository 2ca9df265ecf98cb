"""What care of the data keeps and asks: its values and its tables.

- `HeldTable`: what repositories name and hold, read as a whole and unlinked piece by piece.
- `MarkTable`: since when something has been seen to be garbage.
- `CondemnedTable`: objects that are being deleted from the store, and what keeps others from it.
- `RemainsTable`: rows that nothing holds, and objects that no row needs.

Only garbage collection removes rows; everything else adds them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait_registry.domain.records import PushRow, RepositoryId, UploadRow

NOBODY = RepositoryId(0)
"""The repository of what belongs to none."""


class MarkKind(StrEnum):
    """What a mark is on."""

    COMMIT = "commit"  # a repository's link to a commit that no ref reaches
    FILE = "file"  # a repository's link to a file that no kept commit names
    UPLOAD = "upload"  # an announced object of a file that no open push stages
    OBJECT = "object"  # an object of the store that no row needs


class RowKind(StrEnum):
    """What rows exist once, whoever holds them; in the order in which they may be dropped."""

    COMMIT = "commit"
    MANIFEST = "manifest"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class KeptRepository:
    """A repository, as care of the data sees it."""

    id: RepositoryId
    name: RepositoryName
    keep_untagged_days: int | None
    """Of its namespace; None: for ever."""


@dataclass(frozen=True, slots=True)
class HeldCommit:
    """A commit that a repository holds."""

    id: CommitId
    parents: tuple[CommitId, ...]
    generation: int
    manifest: ManifestId
    added_at: str | None
    """When garbage collection saw it in the repository first; None: it has not yet."""


class HeldTable(Protocol):
    """What repositories name and hold."""

    def list_repositories(self) -> Sequence[KeptRepository]:
        """Return all repositories, sorted by key."""

    def read_version(self, repository: RepositoryId) -> int:
        """Return a number that grows with every change of what the repository names or holds.

        It goes on growing where a repository is deleted and another one gets its name.
        """

    def raise_version(self, repository: RepositoryId, version: int) -> None:
        """Make the number grow, at least to `version`."""

    def load_commits(self, repository: RepositoryId) -> Sequence[HeldCommit]:
        """Return all commits that the repository holds."""

    def load_files(self, repository: RepositoryId) -> Mapping[ObjectId, int]:
        """Return all files that the repository holds, with their sizes."""

    def date_commits(self, repository: RepositoryId, now: str) -> None:
        """Let the age of those commits that have none begin."""

    def unlink_commits(self, repository: RepositoryId, commits: Collection[CommitId]) -> None:
        """Let go of commits, with their notes; the caller knows that no other needs them."""

    def unlink_files(self, repository: RepositoryId, files: Collection[ObjectId]) -> None:
        """Let go of files."""

    def expire_files(self, repository: RepositoryId, files: Collection[ObjectId], now: str) -> None:
        """Remember that files of commits that are kept are gone by the rule of retention."""

    def find_expired(
        self, repository: RepositoryId, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, str]:
        """Return those of `files` that expired and did not come back, and when."""


class MarkTable(Protocol):
    """Since when something has been seen to be garbage; NOBODY where no repository holds it."""

    def load(self, kind: MarkKind, repository: RepositoryId) -> Mapping[str, str]:
        """Return all marks of a kind, as UTC times by id."""

    def find(
        self, kind: MarkKind, repository: RepositoryId, ids: Collection[str]
    ) -> Mapping[str, str]:
        """Return the marks on those of `ids` that have one."""

    def insert(
        self, kind: MarkKind, repository: RepositoryId, ids: Collection[str], now: str
    ) -> None:
        """Mark those that are not marked yet."""

    def remove(self, kind: MarkKind, repository: RepositoryId, ids: Collection[str]) -> None:
        """Take marks away."""


class CondemnedTable(Protocol):
    """Objects that are being deleted from the store, and what keeps others from it."""

    def find(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, str]:
        """Return those of `objects` that are condemned, and since when."""

    def list(self) -> Mapping[ObjectId, str]:
        """Return all condemned objects, and since when."""

    def put(self, objects: Collection[ObjectId], now: str) -> None:
        """Condemn objects, or condemn them anew."""

    def remove(self, objects: Collection[ObjectId]) -> None:
        """Say that objects are deleted."""

    def reserve(self, push: str, documents: Collection[ObjectId]) -> None:
        """Keep documents, which a push is about to write, from being condemned."""

    def release(self, pushes: Collection[str]) -> None:
        """Drop what pushes reserved."""

    def hold(self, name: str, until: str | None) -> None:
        """Let nothing be condemned until then; None: from now on as far as `name` goes."""

    def is_held(self, now: str) -> bool:
        """Tell whether something keeps all objects."""


class RemainsTable(Protocol):
    """Rows that nothing holds, objects that no row needs, and pushes that nobody ends."""

    def list_unheld(self, kind: RowKind) -> Sequence[str]:
        """Return rows that nothing holds, each before those that it refers to."""

    def drop_unheld(self, kind: RowKind, ids: Collection[str]) -> int:
        """Drop those of `ids` that nothing holds still, and return how many."""

    def list_undocumented(self, limit: int) -> Sequence[ObjectId]:
        """Return files that do not know their document."""

    def name_documents(self, documents: Mapping[ObjectId, ObjectId]) -> None:
        """Write the documents of files."""

    def find_needed(self, objects: Collection[ObjectId]) -> frozenset[ObjectId]:
        """Return those of `objects` that something needs: a file, a commit, a manifest, a push."""

    def list_loose(self) -> Sequence[ObjectId]:
        """Return the objects that have a row and belong to no file."""

    def drop_objects(self, objects: Collection[ObjectId]) -> None:
        """Drop the rows of objects; the caller knows that nothing needs them."""

    def list_pushes(self, repository: RepositoryId | None = None) -> Sequence[PushRow]:
        """Return all pushes, or those of one repository, open and completed, oldest first."""

    def drop_pushes(self, pushes: Collection[str]) -> None:
        """Drop pushes with all that they staged and reserved."""

    def list_uploads(self) -> Sequence[UploadRow]:
        """Return all announced objects."""

    def drop_upload(self, upload: UploadRow) -> None:
        """Forget one announced object."""
