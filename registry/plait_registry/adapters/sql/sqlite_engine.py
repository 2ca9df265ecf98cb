"""SQLite, where one process serves one file.

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
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from plait_registry.adapters.sql.limits import Access, Limits

MOST_CONNECTIONS = 64
"""The API's 40 threads may read at once, and a connection is a file handle."""
_WAL_PAUSE_S = 0.02


def build_sqlite_engine(url: URL, limits: Limits, *, migrates: bool) -> Engine:
    """Return an engine on a file; one that migrates does not enforce foreign keys."""
    engine = create_engine(
        url,
        pool_size=limits.pool,
        max_overflow=max(MOST_CONNECTIONS - limits.pool, 0),
        pool_timeout=limits.wait_s,
        connect_args={"timeout": limits.wait_s, "check_same_thread": False},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'OFF' if migrates else 'ON'}")

    return engine


def begin_on_sqlite(connection: Connection, access: Access) -> None:
    """Begin a transaction."""
    reads = access is Access.READ
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reads else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


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
