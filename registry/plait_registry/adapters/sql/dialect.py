"""What the tables need to know about the database under them, and its one door.

Everything else that depends on which database it is lies in `sqlite_engine` and `postgres_engine`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Insert,
    RootTransaction,
    Table,
    event,
    make_url,
)
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError, DBAPIError

from plait.errors import InvalidInput
from plait_registry.adapters.sql.limits import Access, Limits
from plait_registry.adapters.sql.postgres_engine import (
    DRIVER,
    begin_on_postgres,
    build_postgres_engine,
    insert_arrays,
)
from plait_registry.adapters.sql.sqlite_engine import begin_on_sqlite, build_sqlite_engine

MOST_PARAMETERS = 5_000
"""Ids in one IN list. sqlite.org/limits.html allows 32,766 parameters, PostgreSQL 65,535."""

MOST_ROWS = 20_000
"""Rows in one statement of PostgreSQL: half a second, far from its time limit."""

_ACCESS = "plait_access"

T = TypeVar("T")


def build_engine(url: str | URL, limits: Limits, *, migrates: bool = False) -> Engine:
    """Return an engine on the database at `url`.

    Raises:
        InvalidInput: the URL is neither that of an SQLite file nor one of PostgreSQL.
    """
    parsed = _parse(url)
    if parsed.drivername in {DRIVER, "postgresql"}:
        engine, send = build_postgres_engine(parsed, limits, migrates=migrates), begin_on_postgres
    elif parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        engine, send = build_sqlite_engine(parsed, limits, migrates=migrates), begin_on_sqlite
    else:
        raise InvalidInput(
            "invalid-input",
            f"{parsed.render_as_string()!r:.200} is not a database that this registry can use: "
            "expected sqlite:///PATH, the path of a file, or postgresql+psycopg://HOST/DATABASE.",
        )

    @event.listens_for(engine, "begin")
    def send_begin(connection: Connection) -> None:
        send(connection, connection.get_execution_options().get(_ACCESS, Access.READ))

    return engine


def _parse(url: str | URL) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # Not the text itself, nor the error that holds it: there may be a password inside.
        raise InvalidInput(
            "invalid-input",
            "This is not a database URL: expected sqlite:///PATH or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, where special characters of the "
            "password are percent-encoded.",
        ) from None


def begin(connection: Connection, access: Access = Access.READ) -> RootTransaction:
    """Begin a transaction, on a fresh connection where this one turns out to be dead."""
    connection.execution_options(**{_ACCESS: access})
    try:
        return connection.begin()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        # The server was restarted, or the network forgot the connection; the pool has dropped all
        # of its age, and nothing of this transaction was sent yet.
        return connection.begin()


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert those rows whose key is not there yet; return how many, for a single row."""
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        return _run_counted(connection, sqlite_insert(table).on_conflict_do_nothing(), rows)
    statement = insert_arrays(table, tuple(rows[0]))
    parts = _cut(rows, MOST_ROWS)
    return sum(_run_counted(connection, statement, _turn(part)) for part in parts)


def batches(items: Collection[T]) -> Iterator[Sequence[T]]:
    """Return the items in lists short enough for one IN; nothing where there are none."""
    return _cut(items, MOST_PARAMETERS)


def _cut(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _turn(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return a list for each column."""
    return {column: [row[column] for row in rows] for column in rows[0]}


def _run_counted(connection: Connection, statement: Insert, given: Any) -> int:
    # SQLAlchemy counts the rows of an INSERT only if it is asked to.
    counting = {"preserve_rowcount": True}
    return connection.execute(statement, given, execution_options=counting).rowcount
