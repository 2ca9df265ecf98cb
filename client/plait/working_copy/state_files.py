"""Reading and writing the small files that hold a working copy's state."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from plait.errors import Integrity, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Translate what the file system refuses at `path`.

    Raises:
        Unavailable: `disk-full`, or `unavailable` for any other refusal.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable(
                "disk-full",
                f"The disk is full: {path} could not be written. Free some space and try again; "
                "nothing was lost.",
            ) from error
        raise Unavailable(
            "unavailable", f"Cannot write {path}: {error.strerror or error}."
        ) from error


def write_file(path: Path, data: bytes) -> None:
    """Replace a file by `data`: after a crash at any point it is the old one or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a loss of power, where the system has a way to ask."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, document: Any) -> None:
    """Replace a file by a JSON document; see `write_file`."""
    write_file(path, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Return a file's JSON document, or None where there is no file.

    Raises:
        Integrity: the file is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise damaged(path, "is not JSON") from error


def damaged(path: Path, what: str) -> Integrity:
    """Return the error that a state file `what`."""
    return Integrity(
        "object-corrupt",
        f"{path} {what}: this working copy is damaged. Clone again elsewhere and copy your files "
        "over; commits that were pushed are safe.",
        path=str(path),
    )
