"""Everything that depends on which database it is.

SQLite, where one process serves one file:

- WAL, so that reads go on during a write; `synchronous=FULL`, so that a ref that moved stays moved
  after a power cut; foreign keys are checked.
- A write begins with `BEGIN IMMEDIATE` and so holds the one write lock before it reads anything: a
  compare-and-swap is never based on what another write is about to change.
- A read is a plain `BEGIN`: one snapshot from its first query on, and it cannot write.
- Python's driver begins no transaction by itself (docs.sqlalchemy.org, "Enabling Non-Legacy SQLite
  Transactional Modes"): it would leave reads and DDL outside of them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Insert, Table, create_engine, event, make_url
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError, OperationalError

from plait.errors import InvalidInput

MOST_PARAMETERS = 5_000
"""Ids in one IN list. sqlite.org/limits.html allows 32,766 parameters, PostgreSQL 65,535."""
POOL_SIZE = 8
"""Connections that stay open; the API's 40 threads may open more for a while."""
MOST_CONNECTIONS = 64

_WRITES = "plait_writes"
_WAL_PAUSE_S = 0.02

T = TypeVar("T")


def build_engine(url: str | URL, *, wait_s: float, foreign_keys: bool = True) -> Engine:
    """Return an engine on the database at `url`, whose locks are waited for `wait_s` seconds.

    Raises:
        InvalidInput: the URL is not that of an SQLite file.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInput("invalid-input", f"{url!r:.200} is not a database URL.") from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise InvalidInput(
            "invalid-input",
            f"{parsed.render_as_string()!r:.200} is not a database that this registry can use: "
            "expected sqlite:///PATH, the path of a file.",
        )
    engine = create_engine(
        parsed,
        pool_size=POOL_SIZE,
        max_overflow=MOST_CONNECTIONS - POOL_SIZE,
        pool_timeout=wait_s,
        connect_args={"timeout": wait_s, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def allow_writes(connection: Connection) -> Connection:
    """Let the connection's next transaction write."""
    return connection.execution_options(**{_WRITES: True})


def enter_wal(connection: Connection, *, wait_s: float) -> None:
    """Switch a new file to WAL, which the file remembers."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            # Past SQLAlchemy, which would begin a transaction, where the mode cannot change.
            connection.connection.cursor().execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not wait here, where waiting for another process could be a deadlock.
            if time.monotonic() > deadline:
                raise OperationalError("PRAGMA journal_mode = WAL", None, error) from error
            time.sleep(_WAL_PAUSE_S)
        else:
            return


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert those rows whose key is not there yet; return how many, for a single row."""
    if not rows:
        return 0
    return connection.execute(_insert_or_ignore(connection.dialect.name, table), rows).rowcount


def batches(items: Collection[T]) -> Iterator[Sequence[T]]:
    """Yield the items in lists short enough for one IN; nothing where there are none."""
    rest = iter(items)
    while batch := list(islice(rest, MOST_PARAMETERS)):
        yield batch


def _insert_or_ignore(dialect: str, table: Table) -> Insert:
    if dialect == "postgresql":
        return postgresql_insert(table).on_conflict_do_nothing()
    return sqlite_insert(table).on_conflict_do_nothing()
