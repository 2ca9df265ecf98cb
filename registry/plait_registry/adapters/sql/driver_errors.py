"""What the driver raises, as errors of plait."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from plait.errors import Internal, PlaitError, Unavailable

_PRIMARY_CODE = 0xFF
"""The part of SQLite's extended result codes that names the kind (sqlite.org/rescode.html)."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


@contextmanager
def translated_errors() -> Generator[None, None, None]:
    """Run a block whose driver errors leave as `Unavailable` or `Internal`."""
    try:
        yield
    except SQLAlchemyError as error:
        raise translate(error) from error


def busy() -> Unavailable:
    """Return the error that others hold the database for too long."""
    return Unavailable(
        "busy", "The registry's database is busy with other writes: try again in a moment."
    )


def translate(error: SQLAlchemyError) -> PlaitError:
    """Return the error of plait that stands for what the driver raised."""
    if isinstance(error, PoolTimeout):
        return busy()
    cause = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(
            "disk-full",
            "The disk of the registry's database is full, and nothing was changed: free some "
            "space, then try again.",
        )
    if code in _BUSY:
        return busy()
    if isinstance(error, IntegrityError):
        return Internal("internal", f"A row broke a rule of the registry's database: {cause}.")
    if isinstance(error, OperationalError) or code in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }:
        return Unavailable(
            "unavailable",
            f"The registry's database does not answer: {cause}. If it is new, run "
            "`plait-registry migrate`.",
        )
    return Internal("internal", f"The registry used its database wrongly: {cause or error}.")
