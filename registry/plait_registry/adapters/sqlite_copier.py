"""Copies of an SQLite database by its backup interface, which sees one point in time.

Pages come over in one go, so that writes of others go on in the WAL meanwhile and do not show.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url
from typing_extensions import override

from plait.errors import Unavailable
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.backup import DatabaseCopier
from plait_registry.domain.ports import Records

_WAIT_S = 30


class SqliteCopier(DatabaseCopier):
    """Copies the database of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    @override
    def kind(self) -> str:
        return "sqlite"

    @override
    def dump(self, target: Path, look: Callable[[Records], None]) -> None:
        _copy(self._path, target)
        with closing(SqlDatabase.in_file(target)) as database, database.read() as records:
            look(records)

    @override
    def restore(self, source: Path) -> None:
        temporary = self._path.with_name(f"{self._path.name}.restored")
        _copy(source, temporary)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        temporary.replace(self._path)


def find_file(url: str) -> Path | None:
    """Return the file of an SQLite URL, or None for any other database."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(parsed.database) if is_file and parsed.database else None


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(sqlite3.connect(source, timeout=_WAIT_S)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            # A backup is one file: whoever opens it writes no WAL beside it.
            new.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise Unavailable(
            "unavailable", f"The database {source} cannot be copied: {error}."
        ) from error
