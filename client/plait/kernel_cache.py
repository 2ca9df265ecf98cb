"""Where compiled kernels are kept: in a folder named by everything that they are made from.

numba compiles a kernel on its first call, which takes seconds, and keeps the outcome on disk. It
looks at the kernel's own file alone to see whether that is still good, while kernels of one file
call those of another, and their code is compiled in. After an upgrade that touched the other file
alone, old arithmetic would go on: other bits than everywhere else, without a word. So the folder's
name has the digest of all kernels' sources and the versions of what compiles them.

The folder is, of these, the first that can be written to: one in NUMBA_CACHE_DIR, if that is set;
beside the kernels' sources, where Python keeps what it compiles; in `~/.cache/plait`;
a temporary one, which ends with the process. The last four that were used are kept.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from plait.errors import Unavailable

KEPT = 4
"""Folders of other versions may be in use, by a server that was not restarted yet, say."""
_PREFIX = "plait-kernels-"
_SOURCES = Path(__file__).parent / "algebra" / "kernels"


def use_kernel_cache() -> None:
    """Have numba keep compiled kernels in their folder; to be called before kernels are imported.

    Raises:
        ImportError: numba is not installed.
    """
    from numba.core import config

    # By names: numba sets these when it is imported.
    folder = open_folder(_SOURCES, getattr(config, "CACHE_DIR"))  # noqa: B009
    setattr(config, "CACHE_DIR", str(folder))  # noqa: B010


def verify_installed() -> None:
    """Check that what computes is installed, and have compiled kernels kept where they fit.

    Raises:
        Unavailable: `extra-missing`.
    """
    try:
        use_kernel_cache()
    except ImportError as error:
        raise Unavailable(
            "extra-missing",
            f"Computing with weights needs {error.name}, which is not installed: run "
            "`pip install 'plait[algebra]'`.",
        ) from error


def open_folder(sources: Path, given: str = "") -> Path:
    """Return the folder for kernels of these sources, made if need be; `given` comes first."""
    name = _PREFIX + _digest(sources)
    for parent in _find_parents(sources, given):
        folder = parent if parent.name == name else parent / name
        if _can_be_used(folder):
            _remove_old(folder)
            return folder
    temporary = tempfile.mkdtemp(prefix=_PREFIX)
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def _find_parents(sources: Path, given: str) -> Iterator[Path]:
    if given:
        yield Path(given)
    yield sources / "__pycache__"
    with contextlib.suppress(RuntimeError):  # this user has no home
        yield Path.home() / ".cache" / "plait" / "kernels"


def _digest(sources: Path) -> str:
    from importlib.metadata import version

    digest = hashlib.sha256()
    for package in ("numba", "llvmlite", "numpy"):
        digest.update(f"{package} {version(package)}\n".encode())
    for path in sorted(sources.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _can_be_used(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        os.utime(folder)  # was used last now
    except OSError:
        return False
    return True


def _remove_old(folder: Path) -> None:
    """Remove all folders of its kind but the last ones that were used."""
    used: list[tuple[float, Path]] = []
    for path in folder.parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process removed it
            used.append((path.stat().st_mtime, path))
    for _, path in sorted(used, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
