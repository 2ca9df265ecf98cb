"""Writing a version into a folder of the user's: a writable copy, never a byte outside of it.

- A folder that is not empty is refused, unless it holds the same files already, or by `force`;
  then the version's files replace those of the same names, and others stay.
- Each file is written under a temporary name and renamed, so that none is ever half there.
- A symbolic link inside the folder is never followed.
"""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from plait.errors import AlreadyExists, InvalidInput
from plait.model.paths import FilePath
from plait.partial_file import disk_errors

_TEMPORARY = ".plait-"
"""Begins the names of unfinished files; a name made of the file's own could be too long."""


def write_destination(
    files: Mapping[FilePath, Path], destination: Path, *, force: bool = False
) -> None:
    """Copy `files` into `destination`, which is made where it is absent.

    Raises:
        AlreadyExists: `destination-exists`, it holds something else.
        InvalidInput: `symlink-refused`, a link lies in the way.
        Unavailable: `disk-full`.
    """
    if destination.exists() and not destination.is_dir():
        raise AlreadyExists("destination-exists", f"{destination} is a file: name a folder.")
    if not destination.exists():
        _write_new(files, destination)
        return
    present = any(destination.iterdir())
    if present and _holds_exactly(files, destination):
        return
    if present and not force:
        raise AlreadyExists(
            "destination-exists",
            f"{destination} is not empty and holds something else: name another folder, or "
            "replace the files of the same names with --force (force=True).",
            path=str(destination),
        )
    for path in files:
        _verify_way(destination, path)
    for path, source in files.items():
        _write_file(source, destination / path)


def _write_new(files: Mapping[FilePath, Path], destination: Path) -> None:
    """Make the folder complete under another name first."""
    temporary = destination.with_name(_TEMPORARY + secrets.token_hex(8))
    with disk_errors(destination):
        try:
            temporary.mkdir(parents=True)
            for path, source in files.items():
                target = temporary / path
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_file(source, target)
            temporary.rename(destination)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_file(source: Path, target: Path) -> None:
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(_TEMPORARY + secrets.token_hex(8))
        try:
            copy_file(source, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy bytes to a new, writable file; shares blocks where the file system can."""
    with source.open("rb", buffering=0) as reading, target.open("xb", buffering=0) as writing:
        if not _copy_in_kernel(reading.fileno(), writing.fileno()):
            shutil.copyfileobj(reading, writing, 1 << 20)


def _copy_in_kernel(source: int, target: int) -> bool:
    """Copy by copy_file_range, which makes reflinks; tell whether that was possible."""
    if not hasattr(os, "copy_file_range"):
        return False
    left = os.fstat(source).st_size
    copied = 0
    while left:
        try:
            count = os.copy_file_range(source, target, min(left, 1 << 30))
        except OSError:
            if copied:
                raise
            return False
        if not count:
            # Some file systems say 0 instead of an error; nothing was copied yet.
            return copied > 0
        left -= count
        copied += count
    return True


def _holds_exactly(files: Mapping[FilePath, Path], destination: Path) -> bool:
    present = {
        Path(folder, name).relative_to(destination).as_posix()
        for folder, _, names in os.walk(destination)
        for name in names
    }
    if present != set(files):
        return False
    return all(
        _is_regular(destination / path) and filecmp.cmp(source, destination / path, shallow=False)
        for path, source in files.items()
    )


def _is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _verify_way(destination: Path, path: FilePath) -> None:
    """Check that every folder between the destination and the file is one."""
    current = destination
    for part in path.split("/")[:-1]:
        current = current / part
        if current.is_symlink():
            raise InvalidInput(
                "symlink-refused",
                f"{current} is a symbolic link, and {path} would be written through it: remove it.",
                path=str(current),
            )
    if (destination / path).is_dir() and not (destination / path).is_symlink():
        raise AlreadyExists(
            "destination-exists", f"{destination / path} is a folder where a file must go."
        )
