"""The folder of an embedded registry: who may use it, its secrets, and where it answers.

lock              held by the one server (or tool) that works on the folder
admin.token       the token of the registry's administrator, 0600
url-signing.key   signs URLs to objects, 0600
server.json       url and pid of the server that answers now; absent while none does
registry.db       the database, unless another one is set
objects/ incoming/   what clients upload
documents/           what the registry writes about it; no signed URL leads there
journal/             the refs, for a rebuild
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from plait.errors import Unavailable
from plait_registry.domain.accounts import TOKEN_PREFIX


class DataFolder:
    """One data folder; making an instance touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token_path = root / "admin.token"
        self.database_path = root / "registry.db"
        self._server_path = root / "server.json"
        self._key_path = root / "url-signing.key"
        self._lock_path = root / "lock"

    def make(self) -> None:
        """Make the folder, for its owner alone; it may be there already.

        Raises:
            Unavailable: it cannot be made, or not be written to.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise Unavailable(
                "unavailable",
                f"The data folder {self.root} cannot be made or written to ({error.strerror}): "
                "choose another one with --data.",
            ) from error

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends.

        Raises:
            Unavailable: `busy`, another process holds it.
        """
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(
                    "busy",
                    f"Another plait-registry is using {self.root}: stop it first, or choose "
                    "another folder with --data.",
                ) from None
            yield
        finally:
            os.close(descriptor)

    def ensure_token(self) -> bool:
        """Write the administrator's token if there is none; tell whether it was written now."""
        return _write_once(self.token_path, _new_token())

    def rotate_token(self) -> None:
        """Replace the token; a running server takes the new one at once."""
        _replace(self.token_path, _new_token())

    def signing_key(self) -> bytes:
        """Return the key that signs URLs, made at the first start."""
        _write_once(self._key_path, secrets.token_hex(32))
        return bytes.fromhex(self._key_path.read_text("ascii"))

    def announce(self, url: str) -> None:
        """Say where the server answers, so that `plait` on this machine finds it."""
        _replace(self._server_path, json.dumps({"url": url, "pid": os.getpid()}))

    def withdraw(self) -> None:
        """Say that no server answers any more."""
        self._server_path.unlink(missing_ok=True)


class AdminToken:
    """Checks tokens against a file, which is read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version: tuple[int, ...] = ()
        self._token = b""

    def matches(self, candidate: str) -> bool:
        """Return whether `candidate` is the token; the time it takes tells nothing about it."""
        token = self._read()
        return bool(token) and hmac.compare_digest(candidate.encode(), token)

    def _read(self) -> bytes:
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_ino, found.st_size)
            with self._lock:
                if version != self._version:
                    self._token = self._path.read_bytes().strip()
                    self._version = version
                return self._token
        except FileNotFoundError:
            return b""


def _new_token() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def _write_once(path: Path, text: str) -> bool:
    """Write a secret unless the file is there; never half of it, and never readable by others."""
    return not path.exists() and _place(path, text, os.link)


def _replace(path: Path, text: str) -> None:
    _place(path, text, os.replace)


def _place(path: Path, text: str, move: Callable[[Path, Path], None]) -> bool:
    """Write a temporary file with mode 0600 and give it its name by `move`."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        move(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True
