"""The database port over SQLAlchemy Core."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, select
from typing_extensions import override

from plait_registry.adapters.sql import migrating, tables
from plait_registry.adapters.sql.commits import SqlCommitTable
from plait_registry.adapters.sql.dialect import allow_writes, build_engine
from plait_registry.adapters.sql.driver_errors import busy, translated_errors
from plait_registry.adapters.sql.files import SqlFileTable
from plait_registry.adapters.sql.pushes import SqlPushTable
from plait_registry.adapters.sql.refs import SqlRefTable
from plait_registry.adapters.sql.repositories import SqlRepositoryTable
from plait_registry.domain.ports import Database, Records

LONGEST_WAIT_S = 30.0
"""How long a transaction waits for others before it is refused as busy."""


class SqlRecords(Records):
    """All tables, over the connection of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._repositories = SqlRepositoryTable(connection)
        self._refs = SqlRefTable(connection)
        self._commits = SqlCommitTable(connection)
        self._files = SqlFileTable(connection)
        self._pushes = SqlPushTable(connection)

    @property
    @override
    def repositories(self) -> SqlRepositoryTable:
        return self._repositories

    @property
    @override
    def refs(self) -> SqlRefTable:
        return self._refs

    @property
    @override
    def commits(self) -> SqlCommitTable:
        return self._commits

    @property
    @override
    def files(self) -> SqlFileTable:
        return self._files

    @property
    @override
    def pushes(self) -> SqlPushTable:
        return self._pushes


class SqlDatabase(Database):
    """Transactions over an SQLite file; safe to share between threads.

    Neither `read` nor `write` may be opened inside a `write` of the same thread.
    """

    def __init__(self, url: str | URL, *, wait_s: float = LONGEST_WAIT_S) -> None:
        """Take the database at `url`, as `sqlite:////srv/plait/plait.db`; connect on first use.

        Raises:
            InvalidInput: the URL is not that of an SQLite file.
        """
        self._engine = build_engine(url, wait_s=wait_s)
        self._url = url
        self._wait_s = wait_s
        # SQLite lets waiting writers poll, and some of them starve: inside one process they queue.
        self._writer = threading.Lock()

    @classmethod
    def in_file(cls, path: Path) -> SqlDatabase:
        """Take the SQLite file at `path`, whatever characters its name has."""
        return cls(URL.create("sqlite", database=str(path.absolute())))

    @override
    @contextmanager
    def read(self) -> Generator[Records, None, None]:
        with translated_errors(), self._engine.connect() as connection, connection.begin():
            yield SqlRecords(connection)

    @override
    @contextmanager
    def write(self) -> Generator[Records, None, None]:
        if not self._writer.acquire(timeout=self._wait_s):
            raise busy()
        try:
            with (
                translated_errors(),
                self._engine.connect() as connection,
                allow_writes(connection).begin(),
            ):
                yield SqlRecords(connection)
        finally:
            self._writer.release()

    def migrate(self) -> None:
        """Bring the schema to this program's revision; does nothing where it is there.

        Any number of processes may call it at once: it is one transaction, and the others wait.

        Raises:
            Unavailable: the database belongs to a newer plait, or cannot be written.
        """
        with translated_errors():
            migrating.upgrade(self._url, wait_s=self._wait_s)

    def schema_revision(self) -> str | None:
        """Return the revision that the schema has; None where there is none yet."""
        with translated_errors(), self._engine.connect() as connection, connection.begin():
            return migrating.read_revision(connection)

    def check(self) -> None:
        """Answer one trivial query.

        Raises:
            Unavailable: the database does not answer, or has no schema.
        """
        with translated_errors(), self._engine.connect() as connection, connection.begin():
            connection.execute(select(tables.repositories.c.id).limit(1)).all()

    def close(self) -> None:
        """Close all connections; the last one folds the WAL into the file."""
        self._engine.dispose()
