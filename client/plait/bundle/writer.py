"""Writing a bundle: under a temporary name, checked on the way, and renamed when it is complete.

- The file gets its name only when every byte is on the disk. A process that is killed leaves a
  folder `.NAME.unfinished` beside it, which the next one takes over and removes.
- Each file's bytes are checked against its version's digests while they are written.
- Equal contents give equal bytes, so two sites can compare one sha256.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import BinaryIO

from plait.bundle.archive import END, Member, make_header, padding
from plait.errors import AlreadyExists, Integrity, Unavailable
from plait.partial_file import disk_errors

if sys.platform != "win32":
    import fcntl


CONTENT = "bundle"
"""The name that a bundle has in the folder of its making."""

_OWN_NAME = re.compile(r"bundle|[0-9a-f]{64}(\.[0-9a-f]{8})?(\.partial|\.ranges)?")
"""Of that, and of files that are being fetched for it."""


class BundleWriter:
    """Appends members to a file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._digest = hashlib.sha256()
        self.size = 0

    def add(self, member: Member, pieces: Iterable[bytes | memoryview]) -> None:
        """Append a member, whose bytes are exactly as many as it says.

        Raises:
            Integrity: `size-mismatch`.
            Unavailable: `disk-full`.
        """
        self._write(make_header(member))
        begin = self.size
        for piece in pieces:
            self._write(piece)
        if self.size - begin != member.size:
            raise Integrity(
                "size-mismatch",
                f"{member.name} has {self.size - begin} bytes instead of {member.size}.",
            )
        self._write(padding(member.size))

    def finish(self) -> str:
        """End the archive, bring it to the disk and return its sha256."""
        self._write(END)
        with disk_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def _write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        with disk_errors(self._path):
            self._file.write(data)
        self.size += len(data)


@contextlib.contextmanager
def unfinished(path: Path, *, force: bool) -> Generator[Path]:
    """Hold an empty folder beside `path` in which to make it; `publish` gives it its name.

    Raises:
        AlreadyExists: `destination-exists`.
        Unavailable: `busy`, another process is making the same file; `disk-full`.
    """
    verify_absent(path, force=force)
    folder = path.with_name(f".{path.name}.unfinished")
    with disk_errors(path):
        folder.mkdir(exist_ok=True)
    with _held(folder):
        try:
            _clear(folder)
            yield folder
        finally:
            _clear(folder)
            with contextlib.suppress(OSError):  # somebody else's file is in it
                folder.rmdir()


def publish(made: Path, path: Path, *, force: bool) -> None:
    """Give a complete file its name, for good.

    Raises:
        AlreadyExists: `destination-exists`, somebody else made it meanwhile.
    """
    verify_absent(path, force=force)
    with disk_errors(path):
        made.replace(path)
        if sys.platform != "win32":
            with _opened(path.parent.resolve()) as descriptor:
                os.fsync(descriptor)


def verify_absent(path: Path, *, force: bool) -> None:
    """Check that nothing is replaced that should stay.

    Raises:
        AlreadyExists: `destination-exists`.
    """
    if path.is_dir() or (not force and os.path.lexists(path)):
        raise AlreadyExists(
            "destination-exists",
            f"{path} is there already: name another file, or replace it with --force (force=True).",
            path=str(path),
        )


def _clear(folder: Path) -> None:
    """Remove what an earlier process left, and nothing that has another name."""
    with disk_errors(folder):
        for item in folder.iterdir():
            if _OWN_NAME.fullmatch(item.name):
                item.unlink()


@contextlib.contextmanager
def _held(folder: Path) -> Generator[None]:
    if sys.platform == "win32":  # it has no flock: two at once disturb each other, and both fail
        yield
        return
    with _opened(folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unavailable(
                "busy", f"Another process is writing {folder.parent}: wait until it has ended."
            ) from error
        yield


@contextlib.contextmanager
def _opened(folder: Path) -> Generator[int]:
    # A link that lies in the folder's place would have other people's files removed.
    with disk_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
