"""What the drivers raise, as errors of plait.

A connection that is lost in the middle of a transaction undoes it. One that is lost while its
COMMIT is on the way leaves open whether it was done: the caller hears `unavailable` and asks again,
and the services give the same answer again where it was (a completed push keeps its result, a ref
that points where it should is left alone).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from plait.errors import Internal, InvalidInput, PlaitError, Unavailable

_PRIMARY_CODE = 0xFF
"""The part of SQLite's extended result codes that names the kind (sqlite.org/rescode.html)."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_AWAY = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# postgresql.org/docs/current/errcodes-appendix.html
_LOST_RACE = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected
_LOCK_TIMEOUT = "55P03"
_DISK_FULL = "53100"
_STATEMENT_TIMEOUT = "57014"
_POSTGRES_AWAY = ("08", "0A", "25006", "25P03", "28", "3D", "42P01", "53", "57P", "58")
"""Beginnings: connection, a standby (twice), idle for too long, access, no such database or no
schema, resources, shutdown, system."""
_CONSTRAINT = "23"


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


def may_win_alone(error: SQLAlchemyError) -> bool:
    """Return whether a transaction that failed may succeed when no other one writes beside it.

    A row that breaks a rule may be one half of a race, that a second look explains: the repository
    is gone, the name is taken.
    """
    code = _read_sqlstate(error) or ""
    return code in _LOST_RACE or code.startswith(_CONSTRAINT)


def translate(error: SQLAlchemyError) -> PlaitError:
    """Return the error of plait that stands for what the driver raised."""
    if isinstance(error, PoolTimeout):
        return busy()
    cause = error.orig if isinstance(error, DBAPIError) else None
    # Told by its attributes: importing psycopg takes a tenth of a second, also for SQLite.
    if hasattr(cause, "sqlstate"):
        return _translate_postgres(error, cause)
    code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code == sqlite3.SQLITE_FULL:
        return _disk_full()
    if code in _BUSY:
        return busy()
    if isinstance(error, IntegrityError):
        return _broken_rule(str(cause))
    if isinstance(error, OperationalError) or code in _AWAY:
        return _away(str(cause))
    return _wrong_use(str(cause or error))


def _translate_postgres(error: SQLAlchemyError, cause: Any) -> PlaitError:
    code = _read_sqlstate(error)
    # Never the details: they quote the values of rows.
    said = cause.diag.message_primary or str(cause).partition("\n")[0]
    if code == _DISK_FULL:
        return _disk_full()
    if code == _LOCK_TIMEOUT or code in _LOST_RACE:
        return busy()
    if code == _STATEMENT_TIMEOUT:
        return Unavailable(
            "unavailable",
            "The registry's database took too long to answer, and nothing was changed: try again "
            "in a moment.",
        )
    if isinstance(error, DataError):
        # Text with a NUL, a number beyond 64 bits: only what a request brought can be like that.
        return InvalidInput("invalid-input", f"The registry's database cannot hold this: {said}.")
    if code is None:
        # The driver itself speaks: nobody is at the other end, or it was handed nonsense.
        return _away(said) if isinstance(error, OperationalError) else _wrong_use(said)
    if code.startswith(_POSTGRES_AWAY):
        return _away(said)
    return _broken_rule(said) if code.startswith(_CONSTRAINT) else _wrong_use(said)


def _read_sqlstate(error: SQLAlchemyError) -> str | None:
    cause = error.orig if isinstance(error, DBAPIError) else None
    return getattr(cause, "sqlstate", None)


def _disk_full() -> Unavailable:
    return Unavailable(
        "disk-full",
        "The disk of the registry's database is full, and nothing was changed: free some space, "
        "then try again.",
    )


def _away(said: str) -> Unavailable:
    return Unavailable(
        "unavailable",
        f"The registry's database does not answer: {said}. If it is new, run "
        "`plait-registry migrate`.",
    )


def _broken_rule(said: str) -> Internal:
    return Internal("internal", f"A row broke a rule of the registry's database: {said}.")


def _wrong_use(said: str) -> Internal:
    return Internal("internal", f"The registry used its database wrongly: {said}.")
