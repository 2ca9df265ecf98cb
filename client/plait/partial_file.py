"""A file that is being fetched: under a temporary name until it is whole and verified.

`NAME.partial` holds the bytes; for a fetch of several ranges, `NAME.ranges` lists those that are
finished, one `begin end` a line, after a first line with the size. A process that is killed leaves
both, and the next one goes on. Losing power may leave ranges that are listed but were not written:
the check of the whole file finds that, and the fetch begins anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol

from plait.errors import Integrity, InvalidInput, Unavailable
from plait.model.ids import hash_bytes

if sys.platform != "win32":
    import fcntl

LONGEST_STEM = 200
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Placed(Protocol):
    """A range with its place in the destination."""

    @property
    def begin(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def at(self) -> int: ...


class PartialFile:
    """A destination that is being written; `write` and `mark` may be called from any thread."""

    def __init__(self, destination: Path, partial: Path, ranges: Path | None) -> None:
        self._destination = destination
        self._partial = partial
        self._ranges = ranges
        self._finished: set[tuple[int, int]] = set()
        self._lock = threading.Lock()
        self._descriptor = -1

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier process left something that was taken over."""
        return bool(self._finished)

    @classmethod
    def open(cls, destination: Path, size: int, *, resumable: bool) -> PartialFile:
        """Begin a file of `size` bytes, or go on with the one that an earlier process left.

        Raises:
            Unavailable: `disk-full`.
        """
        name = _shorten(destination.name)
        partial = destination.with_name(f"{name}.partial")
        ranges = destination.with_name(f"{name}.ranges") if resumable else None
        file = cls(destination, partial, ranges)
        with disk_errors(destination):
            destination.parent.mkdir(parents=True, exist_ok=True)
            if ranges is None or not file._open_shared(size):
                file._open_private(size)
        return file

    def has(self, parts: Sequence[_Placed]) -> bool:
        """Tell whether an earlier process finished these ranges."""
        return all((part.at, part.at + part.end - part.begin) in self._finished for part in parts)

    def write(self, at: int, data: memoryview) -> None:
        """Put bytes at a place.

        Raises:
            Unavailable: `disk-full`.
        """
        with disk_errors(self._destination):
            _write_at(self._descriptor, at, data, self._lock)

    def mark(self, parts: Sequence[_Placed]) -> None:
        """Remember that these ranges are written."""
        if self._ranges is None:
            return
        lines = "".join(f"{part.at} {part.at + part.end - part.begin}\n" for part in parts)
        with self._lock, disk_errors(self._destination), self._ranges.open("a") as file:
            file.write(lines)

    def finish(self, verify: Callable[[Path], None]) -> None:
        """Check the bytes and give the file its name; bytes that fail the check are removed.

        Raises:
            Integrity: what `verify` raised.
        """
        try:
            verify(self._partial)
        except (Integrity, InvalidInput):
            self._remove()
            raise
        with disk_errors(self._destination):
            self._partial.replace(self._destination)
            if self._ranges is not None:
                self._ranges.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file; what is unfinished stays for the next process, if it can go on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._ranges is None:
            self._partial.unlink(missing_ok=True)

    def _remove(self) -> None:
        self._partial.unlink(missing_ok=True)
        if self._ranges is not None:
            self._ranges.unlink(missing_ok=True)

    def _open_shared(self, size: int) -> bool:
        """Open the resumable file, unless another process is at it."""
        if sys.platform == "win32":  # it has no flock: nothing is shared, and nothing resumed
            return False
        self._descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT, 0o600)
        if not self._lock_alone():
            os.close(self._descriptor)
            self._descriptor = -1
            return False
        self._finished = self._read_ranges(size)
        os.truncate(self._descriptor, size)
        if not self._finished and self._ranges is not None:
            self._ranges.write_text(f"{size}\n")
        return True

    def _lock_alone(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last owner may have finished it between our opening and our locking: then the
            # descriptor is that of the finished file, which nobody may write to any more.
            return os.path.samestat(os.fstat(self._descriptor), self._partial.stat())
        except OSError:
            return False

    def _open_private(self, size: int) -> None:
        self._ranges = None
        self._partial = self._destination.with_name(
            f"{_shorten(self._destination.name)}.{secrets.token_hex(4)}.partial"
        )
        self._descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.truncate(self._descriptor, size)

    def _read_ranges(self, size: int) -> set[tuple[int, int]]:
        """Return the finished ranges; none where the list belongs to another file, or is torn."""
        try:
            first, *lines = self._ranges.read_text("ascii").split("\n") if self._ranges else [""]
            # A line without its end was being written when the process was killed.
            pairs = [line.split(" ") for line in lines[:-1]]
            finished = {(int(begin), int(end)) for begin, end in pairs}
        except (OSError, ValueError):
            return set()
        return finished if first == str(size) else set()


@contextlib.contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Translate what goes wrong on a disk.

    Raises:
        Unavailable: `disk-full`, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise Unavailable(
                "disk-full",
                f"There is no room left for {path}: free some, or name a place on a larger disk "
                "(PLAIT_CACHE_DIR, for what is fetched), and try again.",
                path=str(path),
            ) from error
        raise Unavailable(
            "unavailable", f"Cannot write {path}: {error.strerror or error}.", path=str(path)
        ) from error


def _shorten(name: str) -> str:
    """Return a name that leaves room for an ending, in the 255 bytes that a file system allows."""
    return name if len(name.encode()) <= LONGEST_STEM else hash_bytes(name.encode())


def _write_at(descriptor: int, at: int, data: memoryview, lock: threading.Lock) -> None:
    if hasattr(os, "pwrite"):
        while data:
            count = os.pwrite(descriptor, data, at)
            data, at = data[count:], at + count
        return
    with lock:  # pragma: no cover - Windows has no pwrite
        os.lseek(descriptor, at, os.SEEK_SET)
        while data:
            data = data[os.write(descriptor, data) :]
