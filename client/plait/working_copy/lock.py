"""The lock that lets one command at a time change a working copy.

It is a lock of the operating system on an open file, which goes with the process: a command that
was killed leaves no stale lock behind. The file also tells the holder's process, for people.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator

from plait.errors import Unavailable
from plait.working_copy.layout import Layout
from plait.working_copy.state_files import storage_errors

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # far behind the text, which stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


ATTEMPTS = 25
PAUSE = 0.02
"""Seconds between two attempts. A `status` holds the lock for a moment only: worth a short wait."""


@contextlib.contextmanager
def locked(layout: Layout, *, attempts: int = ATTEMPTS) -> Generator[None]:
    """Hold the working copy's lock.

    Raises:
        Unavailable: `busy`, another command holds it.
    """
    with storage_errors(layout.lock):
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not any(_is_locked_now(descriptor, attempt) for attempt in range(attempts)):
            holder = os.pread(descriptor, 20, 0) if hasattr(os, "pread") else b""
            who = holder.decode("ascii", "replace").strip() or "unknown"
            raise Unavailable(
                "busy",
                f"Another plait command (process {who}) is changing {layout.root}: wait until it "
                "has ended, then try again.",
            )
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _is_locked_now(descriptor: int, attempt: int) -> bool:
    """Try to take the lock, after a pause if this is not the first attempt."""
    if attempt:
        time.sleep(PAUSE)
    try:
        _try_lock(descriptor)
    except OSError:
        return False
    return True
