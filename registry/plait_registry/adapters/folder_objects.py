"""Objects as read-only files: `objects/sha256/ab/<64 hexadecimal digits>`.

- An object appears whole or not at all: it is written under `incoming/`, synced, and then linked
  to its name, which fails where the name is taken. The folder is synced before anyone is told.
- A full disk leaves nothing behind, and is `disk-full`; any other failure of the disk is
  `unavailable`.
- An id is checked before it becomes a path.

Whatever a crash leaves in `incoming/` has no name that anyone reads.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from plait.errors import Integrity, NotFound, Unavailable
from plait.model.ids import ObjectId, abbreviate, hash_bytes, parse_object_id
from plait_registry.domain.object_names import has_its_name
from plait_registry.domain.ports import ObjectStore, StoredObject

PIECE_SIZE = 1024 * 1024
_NEW = "new-"
_NAME = re.compile(r"[0-9a-f]{64}")
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def translated_disk_errors() -> Generator[None]:
    """Turn what the operating system says into errors of plait."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise Unavailable(
                "disk-full",
                "The registry's disk is full: nothing was stored. Free some space there, then "
                "try again.",
            ) from error
        raise Unavailable(
            "unavailable",
            f"The registry's object folder cannot be used now ({error.strerror}): see its log.",
        ) from error


def missing(object_id: ObjectId) -> NotFound:
    """Return the error that an object is not there."""
    return NotFound("object-not-found", f"The object {abbreviate(object_id)} is not stored.")


class FolderObjects(ObjectStore):
    """The object store of one folder."""

    def __init__(self, root: Path) -> None:
        self.incoming = root / "incoming"
        """Uploads under way; on the same file system as the objects."""
        self._objects = root / "objects" / "sha256"
        self._discarding = threading.Lock()

    def make(self) -> None:
        """Make the folders; they may be there already."""
        with translated_disk_errors():
            for folder in (self.incoming, self._objects):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Make the folders, and remove whole objects that a crash left half written.

        Call it before the first request: one process serves a folder, so they are nobody's. Parts
        of larger objects stay, since their upload goes on.
        """
        self.make()
        with translated_disk_errors():
            for leftover in self.incoming.glob(f"{_NEW}*"):
                leftover.unlink(missing_ok=True)

    @override
    def check(self) -> None:
        with translated_disk_errors():
            for folder in (self.incoming, self._objects):
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, f"{folder} is missing or read-only")

    def path_of(self, object_id: ObjectId) -> Path:
        """Return where an object is or would be.

        Raises:
            InvalidInput: `invalid-object-id`.
        """
        name = parse_object_id(object_id)
        return self._objects / name[:2] / name

    @override
    def stat(self, object_id: ObjectId) -> int | None:
        with translated_disk_errors():
            try:
                return self.path_of(object_id).stat().st_size
            except FileNotFoundError:
                return None

    def open(self, object_id: ObjectId) -> int:
        """Return a file descriptor of the object, which the caller closes.

        Raises:
            NotFound: `object-not-found`.
        """
        with translated_disk_errors():
            try:
                return os.open(self.path_of(object_id), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise missing(object_id) from None

    @override
    def read(self, object_id: ObjectId, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        descriptor = self.open(object_id)
        try:
            position = start
            while stop is None or position < stop:
                wanted = PIECE_SIZE if stop is None else min(PIECE_SIZE, stop - position)
                with translated_disk_errors():
                    piece = os.pread(descriptor, wanted, position)
                if not piece:
                    return
                position += len(piece)
                yield piece
        finally:
            os.close(descriptor)

    @override
    def put(self, object_id: ObjectId, data: bytes) -> None:
        if hash_bytes(data) != object_id:
            raise Integrity(
                "digest-mismatch", f"The bytes for {abbreviate(object_id)} have another sha256."
            )
        if self.stat(object_id) is not None:
            return
        file = IncomingFile(self)
        try:
            file.write([data])
            file.publish(object_id)
        finally:
            file.discard()

    @override
    def delete(self, object_id: ObjectId) -> None:
        path = self.path_of(object_id)
        with translated_disk_errors():
            path.unlink(missing_ok=True)

    @override
    def discard_wrong(self, object_id: ObjectId) -> None:
        # An object is created only where there is none, and one process serves a folder: while
        # nobody else removes any, what is removed here is what was read here.
        with self._discarding:
            if not has_its_name(self, object_id):
                self.delete(object_id)

    @override
    def list(self) -> Iterator[StoredObject]:
        with translated_disk_errors():
            folders = sorted(path for path in self._objects.iterdir() if path.is_dir())
        for folder in folders:
            with translated_disk_errors(), os.scandir(folder) as entries:
                found = [
                    StoredObject(ObjectId(entry.name), status.st_size, time_of(status))
                    for entry in entries
                    if is_object_name(folder.name, entry.name) and (status := _stat(entry))
                ]
            yield from found

    def publish(self, source: Path, descriptor: int, object_id: ObjectId) -> bool:
        """Give a finished file, open as `descriptor`, the object's name as well.

        Returns False, and changes nothing, where the object is there already.
        """
        path = self.path_of(object_id)
        with translated_disk_errors():
            os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                sync_folder(path.parent.parent)
            try:
                os.link(source, path)
            except FileExistsError:
                return False
            finally:
                # Also where another upload was first: it may not have synced the folder yet.
                sync_folder(path.parent)
            return True


class IncomingFile:
    """A file that is being written and may become an object."""

    def __init__(self, store: FolderObjects) -> None:
        self._store = store
        self._path = store.incoming / f"{_NEW}{secrets.token_hex(16)}"
        self._position = 0
        with translated_disk_errors():
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor: int | None = os.open(self._path, flags, 0o600)

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append bytes."""
        self._position = write_at(self._open_descriptor(), chunks, self._position)

    def publish(self, object_id: ObjectId) -> bool:
        """Make the file an object; False where it is there already."""
        return self._store.publish(self._path, self._open_descriptor(), object_id)

    def discard(self) -> None:
        """Close the file and drop its temporary name; an object that it became stays."""
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self._descriptor = None
        with translated_disk_errors():
            self._path.unlink(missing_ok=True)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the file was discarded")
        return self._descriptor


def is_object_name(folder: str, name: str) -> bool:
    """Tell whether a file of that name in that folder is an object."""
    return _NAME.fullmatch(name) is not None and name.startswith(folder) and len(folder) == 2


def time_of(status: os.stat_result) -> str:
    """Return when a file was written last, as 2026-11-24T06:07:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status.st_mtime))


def write_at(descriptor: int, chunks: Sequence[bytes], offset: int) -> int:
    """Write all of `chunks` from `offset` on, and return where they end."""
    with translated_disk_errors():
        for chunk in chunks:
            view = memoryview(chunk)
            # The operating system may take less than it is given.
            while view:
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written
        return offset


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # removed while others were listed
