"""Backups: their values, and what they need from the database and from a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plait.model.ids import ObjectId
from plait_registry.domain.ports import Records

FORMAT = "plait.backup/1"


@dataclass(frozen=True, slots=True)
class NeededObject:
    """An object that the database names at the point of the backup."""

    id: ObjectId
    size: int | None
    """None for the small documents that the registry writes itself."""

    @property
    def is_document(self) -> bool:
        """Whether it lies among the documents, not among what clients uploaded."""
        return self.size is None


@dataclass(frozen=True, slots=True)
class BackupDescription:
    """What a finished backup says about itself."""

    created_at: str
    database: str
    """`sqlite` or `postgresql`."""
    database_sha256: str
    objects: int
    objects_sha256: str
    """Of the list of objects."""
    copied: bool
    """The objects themselves are in the folder as well."""


class DatabaseCopier(Protocol):
    """Copies a database as a whole, while others use it."""

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""

    def dump(self, target: Path, look: Callable[[Records], None]) -> None:
        """Write a copy of the database at one point in time, and let `look` see that point."""

    def restore(self, source: Path) -> None:
        """Make the database what the copy is; the caller knows that it holds nothing.

        Raises:
            Unavailable: a program is missing or failed.
        """


class BackupFolder(Protocol):
    """A folder that holds one backup."""

    @property
    def database_path(self) -> Path:
        """Where the copy of the database is."""

    def begin(self) -> None:
        """Make the folder; a backup that was in it counts no more, the objects in it stay.

        Raises:
            InvalidInput: it holds something else.
        """

    def write_objects(self, objects: Iterable[NeededObject]) -> None:
        """Write the list of objects."""

    def read_objects(self) -> Iterator[NeededObject]:
        """Yield the list of objects."""

    def has_object(self, item: NeededObject) -> bool:
        """Tell whether the object is in the folder."""

    def keep_object(self, item: NeededObject, pieces: Iterator[bytes]) -> None:
        """Copy an object into the folder.

        Raises:
            Integrity: `digest-mismatch`.
        """

    def read_object(self, item: NeededObject) -> Iterator[bytes]:
        """Yield the bytes of an object in the folder."""

    def finish(self, created_at: str, database: str, *, copied: bool) -> BackupDescription:
        """Say that the backup is complete, and describe it."""

    def verify(self) -> BackupDescription:
        """Return the description of a complete backup whose files are as they were written.

        Raises:
            NotFound: there is none.
            Integrity: a file is not what it was.
        """


class ObjectIntake(Protocol):
    """Takes whole objects, however large, which come from a backup."""

    def take(self, object_id: ObjectId, pieces: Iterator[bytes]) -> None:
        """Store an object; does nothing where it is there already.

        Raises:
            Integrity: `digest-mismatch`.
        """
