"""A backup in a folder.

    backup.json              written last: without it there is no backup
    database                 the copy of the database
    objects.jsonl            the objects that it names, one a line
    objects/sha256/ab/...    the objects themselves, if they were asked for
    documents/               so do the registry's documents, in the same layout

A folder takes one backup after the other: objects are copied once, the rest is written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from typing_extensions import override

from plait.errors import Integrity, InvalidInput, NotFound
from plait.model.ids import ObjectId
from plait_registry.adapters.folder_objects import FolderObjects, translated_disk_errors
from plait_registry.adapters.object_copies import FolderIntake
from plait_registry.domain.backup import (
    FORMAT,
    BackupDescription,
    BackupFolder,
    NeededObject,
)

_KNOWN = frozenset({"backup.json", "database", "objects.jsonl", "objects", "documents", "incoming"})
_PIECE = 1024 * 1024


class FolderBackup(BackupFolder):
    """The backup of one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._description = root / "backup.json"
        self._list = root / "objects.jsonl"
        self._objects = FolderObjects(root)
        self._documents = FolderObjects(root / "documents")

    @property
    @override
    def database_path(self) -> Path:
        return self._root / "database"

    @override
    def begin(self) -> None:
        with translated_disk_errors():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            strange = sorted(path.name for path in self._root.iterdir() if path.name not in _KNOWN)
            if strange:
                raise InvalidInput(
                    "usage",
                    f"{self._root} holds {strange[0]!r:.80}, which is no part of a backup: choose "
                    "a new folder, or that of an earlier backup.",
                )
            self._description.unlink(missing_ok=True)
            self.database_path.unlink(missing_ok=True)

    @override
    def write_objects(self, objects: Iterable[NeededObject]) -> None:
        with translated_disk_errors(), self._list.open("w", encoding="ascii") as file:
            for item in objects:
                file.write(json.dumps({"id": item.id, "size": item.size}) + "\n")

    @override
    def read_objects(self) -> Iterator[NeededObject]:
        with translated_disk_errors(), self._list.open(encoding="ascii") as file:
            for line in file:
                fields = json.loads(line)
                yield NeededObject(ObjectId(fields["id"]), fields["size"])

    @override
    def has_object(self, item: NeededObject) -> bool:
        size = self._store_of(item).stat(item.id)
        return size is not None and item.size in (None, size)

    @override
    def keep_object(self, item: NeededObject, pieces: Iterator[bytes]) -> None:
        store = self._store_of(item)
        store.make()
        FolderIntake(store).take(item.id, pieces)

    @override
    def read_object(self, item: NeededObject) -> Iterator[bytes]:
        return self._store_of(item).read(item.id)

    def _store_of(self, item: NeededObject) -> FolderObjects:
        return self._documents if item.is_document else self._objects

    @override
    def finish(self, created_at: str, database: str, *, copied: bool) -> BackupDescription:
        with translated_disk_errors():
            found = BackupDescription(
                created_at=created_at,
                database=database,
                database_sha256=_hash(self.database_path),
                objects=sum(1 for _ in self.read_objects()),
                objects_sha256=_hash(self._list),
                copied=copied,
            )
            text = json.dumps({"format": FORMAT, **asdict(found)}, indent=2) + "\n"
            for path in (self.database_path, self._list):
                _sync(path)
            temporary = self._description.with_suffix(".new")
            temporary.write_text(text, "ascii")
            _sync(temporary)
            temporary.replace(self._description)
            _sync(self._root)
        return found

    @override
    def verify(self) -> BackupDescription:
        with translated_disk_errors():
            if not self._description.exists():
                raise NotFound(
                    "file-not-found",
                    f"{self._root} holds no complete backup: backup.json is missing.",
                )
            fields = json.loads(self._description.read_text("ascii"))
            if fields.pop("format", None) != FORMAT:
                raise InvalidInput("usage", f"{self._root} is a backup of a newer plait.")
            found = BackupDescription(**fields)
            digests = (_hash(self.database_path), _hash(self._list))
        if digests != (found.database_sha256, found.objects_sha256):
            raise Integrity(
                "digest-mismatch",
                f"The backup in {self._root} is not as it was written: use another one.",
            )
        return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
