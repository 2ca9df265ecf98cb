"""The working copy's objects: commits, manifests and the contents of files, by their sha256.

An object gets its name only when its bytes were verified, is read-only from then on, and is
verified again whenever it is read whole. The layout is the registry's own.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from plait.errors import Integrity, InvalidInput, NotFound
from plait.model.ids import ObjectId, abbreviate, hash_bytes
from plait.working_copy.state_files import storage_errors

PIECE = 1 << 20
"""Bytes that are copied at a time."""


class ObjectFolder:
    """Objects under `root/sha256/ab/abcd...`."""

    def __init__(self, root: Path, *, incoming: Path) -> None:
        self._root = root
        self._incoming = incoming
        self._numbers = itertools.count()

    def path_of(self, object_id: ObjectId) -> Path:
        """Return where the object is, or would be."""
        return self._root / "sha256" / object_id[:2] / object_id

    def has(self, object_id: ObjectId) -> bool:
        """Tell whether the object is there."""
        return self.path_of(object_id).is_file()

    def has_intact(self, object_id: ObjectId) -> bool:
        """Tell whether the object is there, by reading it; a damaged one is removed."""
        path = self.path_of(object_id)
        try:
            with path.open("rb") as file:
                is_intact = hashlib.file_digest(file, "sha256").hexdigest() == object_id
        except FileNotFoundError:
            return False
        if not is_intact:
            # What stands there would be taken for what is to be stored again.
            with storage_errors(path):
                path.unlink()
        return is_intact

    def read(self, object_id: ObjectId) -> bytes:
        """Return a small object's bytes, verified.

        Raises:
            NotFound: `object-not-found`.
            Integrity: `object-corrupt`.
        """
        try:
            data = self.path_of(object_id).read_bytes()
        except FileNotFoundError as error:
            raise _missing(object_id) from error
        if hash_bytes(data) != object_id:
            raise self._corrupt(object_id)
        return data

    def add(self, data: bytes) -> ObjectId:
        """Store bytes; does nothing where they are there already."""
        object_id = hash_bytes(data)
        if not self.has(object_id):
            self._store(object_id, iter((data,)))
        return object_id

    def add_file(self, source: BinaryIO, object_id: ObjectId) -> None:
        """Store what is left to read of `source`, which must have the digest `object_id`.

        Raises:
            InvalidInput: `file-changed`, it has another one.
        """
        if not self.has(object_id):
            self._store(object_id, _pieces(source))

    def adopt(self, temporary: Path, object_id: ObjectId) -> None:
        """Give a file on the same disk, whose bytes the caller verified, its name as an object."""
        target = self.path_of(object_id)
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.chmod(0o444)
            temporary.replace(target)

    def copy_out(self, object_id: ObjectId) -> Path:
        """Return a new file in the incoming folder with the object's bytes, verified on the way.

        Raises:
            NotFound: `object-not-found`.
            Integrity: `object-corrupt`.
        """
        try:
            source = self.path_of(object_id).open("rb")
        except FileNotFoundError as error:
            raise _missing(object_id) from error
        with source:
            temporary, digest = self._write(_pieces(source))
        if digest != object_id:
            temporary.unlink()
            raise self._corrupt(object_id)
        return temporary

    def _store(self, object_id: ObjectId, pieces: Iterator[bytes]) -> None:
        temporary, digest = self._write(pieces)
        if digest != object_id:
            temporary.unlink()
            raise InvalidInput(
                "file-changed",
                "A file was written to while it was read: wait until it is saved, then try again.",
            )
        self.adopt(temporary, object_id)

    def _write(self, pieces: Iterator[bytes]) -> tuple[Path, ObjectId]:
        """Write a temporary file; return it with its digest."""
        temporary = self._incoming / f"{os.getpid()}-{next(self._numbers)}"
        digest = hashlib.sha256()
        with storage_errors(temporary):
            self._incoming.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    for piece in pieces:
                        digest.update(piece)
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        return temporary, ObjectId(digest.hexdigest())

    def _corrupt(self, object_id: ObjectId) -> Integrity:
        path = self.path_of(object_id)
        return Integrity(
            "object-corrupt",
            f"The object {abbreviate(object_id)} of this working copy is damaged ({path}): run "
            "`plait fetch --repair`, which gets again what the remote has of it.",
            path=str(path),
        )


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(PIECE):
        yield piece


def _missing(object_id: ObjectId) -> NotFound:
    return NotFound(
        "object-not-found",
        f"The object {abbreviate(object_id)} is not in this working copy: run "
        "`plait fetch --repair`, which gets again what the remote has of it.",
        object=object_id,
    )
