"""Bytes on their way into the folder store: one request's body each.

A whole object goes to a file of its own, which becomes the object when its digest is right.
A part goes to its offset in the sparse file `incoming/<handle>/data`, and is marked as arrived by
the file `incoming/<handle>/part-<offset>` once its checksum was right and its bytes are on disk.
The file `incoming/<handle>/object-<id>` says what the upload is for, and by its age since when.

Objects never change, and the data file of an upload becomes one without being copied. So no
request may write into it any more from that moment on, not even one that was begun before and
stalled: every write happens under the upload's lock, and is refused once the upload is sealed or
the part has arrived. One process serves a folder, so that a lock in memory suffices.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from plait.errors import AlreadyExists, Integrity
from plait.model.ids import ObjectId, abbreviate, parse_object_id
from plait_registry.adapters.folder_objects import (
    FolderObjects,
    IncomingFile,
    missing,
    sync_folder,
    time_of,
    translated_disk_errors,
    write_at,
)
from plait_registry.adapters.url_signing import Grant
from plait_registry.domain.ports import UnfinishedUpload

_DATA = "data"
_MARK = "part-"
_OBJECT = "object-"
_HANDLE = re.compile(r"[0-9a-f]{32}")


def list_parted_uploads(store: FolderObjects) -> Iterator[UnfinishedUpload]:
    """Yield the uploads in parts of which anything arrived."""
    with translated_disk_errors():
        folders = [path for path in store.incoming.iterdir() if _HANDLE.fullmatch(path.name)]
    for folder in folders:
        for path in _list_files(folder):
            if path.name.startswith(_OBJECT):
                object_id = parse_object_id(path.name.removeprefix(_OBJECT))
                try:
                    yield UnfinishedUpload(object_id, folder.name, time_of(path.stat()))
                except FileNotFoundError:
                    continue  # finished while others were listed


def arrived_already(object_id: ObjectId) -> AlreadyExists:
    """Return the error that there is nothing to send."""
    return AlreadyExists(
        "object-exists", f"The object {abbreviate(object_id)}, or this part of it, is here already."
    )


def wrong_size(expected: int) -> Integrity:
    """Return the error that a body has another length than was signed."""
    return Integrity(
        "size-mismatch", f"The body must have exactly {expected} bytes.", size=expected
    )


class WholeUpload:
    """The upload of an object in one request."""

    def __init__(self, store: FolderObjects, object_id: ObjectId, size: int) -> None:
        self.size = size
        self._object_id = object_id
        self._received = 0
        self._digest = hashlib.sha256()
        self._file = IncomingFile(store)

    def write(self, chunks: Sequence[bytes]) -> None:
        """Take the next bytes.

        Raises:
            Integrity: `size-mismatch`, they are more than was signed.
            Unavailable: `disk-full`.
        """
        self._received += sum(map(len, chunks))
        if self._received > self.size:
            raise wrong_size(self.size)
        for chunk in chunks:
            self._digest.update(chunk)
        self._file.write(chunks)

    def finish(self) -> None:
        """Make the object visible.

        Raises:
            Integrity: `size-mismatch`, `digest-mismatch`.
            AlreadyExists: `object-exists`, another upload was first.
        """
        if self._received != self.size:
            raise wrong_size(self.size)
        if self._digest.hexdigest() != self._object_id:
            raise Integrity("digest-mismatch", "The body has another sha256 than the object's id.")
        if not self._file.publish(self._object_id):
            raise arrived_already(self._object_id)

    def close(self) -> None:
        """Leave nothing behind but the object, if it was finished."""
        self._file.discard()


class PartedUpload:
    """The state of an upload in parts, on disk and in memory; one instance a handle."""

    def __init__(self, store: FolderObjects, handle: str) -> None:
        self.lock = threading.Lock()
        self.sealed = False
        """Whether the data file may be an object by now."""
        self._store = store
        self._folder = store.incoming / handle
        self.arrived = self._read_marks()

    def open_data(self, object_id: ObjectId, size: int) -> int:
        """Return a file descriptor of the data file, sparse in full size; needs the lock.

        Raises:
            AlreadyExists: a crash left the data file after it had become the object.
        """
        with translated_disk_errors():
            if not self._folder.exists():
                self._folder.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self._store.incoming)
            # Where it is there it stays as it is: its age is the upload's.
            label = self._folder / f"{_OBJECT}{object_id}"
            os.close(os.open(label, os.O_CREAT | os.O_CLOEXEC, 0o600))
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._folder / _DATA, flags, 0o600)
            try:
                if os.fstat(descriptor).st_nlink > 1:
                    raise arrived_already(object_id)
                os.ftruncate(descriptor, size)
            except (OSError, AlreadyExists):
                os.close(descriptor)
                raise
            return descriptor

    def mark(self, offset: int) -> None:
        """Say for good that the part at `offset` is on disk."""
        with translated_disk_errors():
            os.close(os.open(self._folder / f"{_MARK}{offset}", os.O_CREAT | os.O_CLOEXEC, 0o600))
            sync_folder(self._folder)
        self.arrived.add(offset)

    def publish(self, object_id: ObjectId, size: int) -> None:
        """Make the data file the object; the caller holds the lock and knows that it is complete.

        Raises:
            NotFound: `object-not-found`, the data file is gone.
            Integrity: `size-mismatch`.
        """
        self.sealed = True
        path = self._folder / _DATA
        with translated_disk_errors():
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                raise missing(object_id) from None
            try:
                if os.fstat(descriptor).st_size != size:
                    raise wrong_size(size)
                self._store.publish(path, descriptor, object_id)
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """Drop what is left of the upload; a published object keeps its bytes."""
        with translated_disk_errors():
            (self._folder / _DATA).unlink(missing_ok=True)
            for path in _list_files(self._folder):
                path.unlink(missing_ok=True)
            if self._folder.exists():
                self._folder.rmdir()

    def _read_marks(self) -> set[int]:
        with translated_disk_errors():
            names = [path.name for path in _list_files(self._folder)]
        return {int(name.removeprefix(_MARK)) for name in names if name.startswith(_MARK)}


class PartUpload:
    """The upload of one part in one request."""

    def __init__(self, upload: PartedUpload, grant: Grant) -> None:
        self.size = grant.size
        self._upload = upload
        self._grant = grant
        self._received = 0
        self._digest = hashlib.sha256()
        with upload.lock:
            self._verify_wanted()
            self._descriptor: int | None = upload.open_data(grant.object_id, grant.total)

    def write(self, chunks: Sequence[bytes]) -> None:
        """Take the next bytes; raises as `WholeUpload.write`, and where the part arrived."""
        position = self._received
        self._received += sum(map(len, chunks))
        if self._received > self.size:
            raise wrong_size(self.size)
        for chunk in chunks:
            self._digest.update(chunk)
        with self._upload.lock:
            self._verify_wanted()
            write_at(self._open_descriptor(), chunks, self._grant.offset + position)

    def finish(self) -> None:
        """Mark the part as arrived.

        Raises:
            Integrity: `size-mismatch`, `digest-mismatch`.
        """
        if self._received != self.size:
            raise wrong_size(self.size)
        if self._digest.hexdigest() != self._grant.digest:
            raise Integrity(
                "digest-mismatch", "The body has another sha256 than its checksum header."
            )
        with translated_disk_errors():
            os.fdatasync(self._open_descriptor())
        with self._upload.lock:
            self._verify_wanted()
            self._upload.mark(self._grant.offset)

    def close(self) -> None:
        """Let go of the data file; bytes that are not marked as arrived are sent anew."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _verify_wanted(self) -> None:
        if self._upload.sealed or self._grant.offset in self._upload.arrived:
            raise arrived_already(self._grant.object_id)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the part was closed")
        return self._descriptor


def _list_files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
