"""The folder that a job's process works in, removed with it however it ends.

    jobs/3f0c.../         caches and temporary files of one job
    jobs/3f0c....lock     held by whoever started the job, and by its process

The lock goes with the last of the two. What is not locked belonged to processes that were killed,
and is swept by whoever starts next.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from pathlib import Path

from plait.errors import Unavailable

_LOCK = ".lock"


class JobFolder:
    """A folder that is held by a lock; make one by `make`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock
        """The descriptor that the job's process inherits."""

    @classmethod
    def make(cls, root: Path) -> JobFolder:
        """Return a new folder under `root`, which nobody else may read.

        Raises:
            Unavailable: it cannot be made.
        """
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                path = root / secrets.token_hex(8)
                lock = _open_lock(path)
                if _is_locked(lock) and _lock_path(path).exists():
                    path.mkdir(mode=0o700)
                    return cls(path, lock)
                # A sweep took it for one that was left behind.
                os.close(lock)
        except OSError as error:
            raise Unavailable(
                "unavailable", f"No folder for a job can be made in {root}: {error.strerror}."
            ) from error

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        _remove(self.path)
        os.close(self.lock)


def sweep_job_folders(root: Path) -> int:
    """Remove what was left behind under `root`, and return how many folders that were."""
    count = 0
    for path in sorted(root.glob(f"*{_LOCK}")):
        folder = path.with_suffix("")
        lock = _open_lock(folder)
        try:
            if _is_locked(lock):
                _remove(folder)
                count += 1
        finally:
            os.close(lock)
    return count


def _open_lock(folder: Path) -> int:
    return os.open(_lock_path(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{_LOCK}")


def _is_locked(lock: int) -> bool:
    """Take a lock; return False where another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    # Versions in a cache are read-only folders, which nothing can be removed from.
    for place, names, _ in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)
    _lock_path(folder).unlink(missing_ok=True)
