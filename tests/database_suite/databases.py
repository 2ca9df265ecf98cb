"""Every adapter of the database port. A further one is one line in `OPENERS`."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from pathlib import Path

from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.sql.tables import METADATA
from plait_registry.domain.ports import Database
from served.postgres import shared_postgres_server

EMPTIED = "emptied"
"""The database that each test of the process finds empty."""


@contextmanager
def open_memory(_template: Path, _folder: Path) -> Iterator[Database]:
    yield MemoryDatabase(wait_s=10)


@contextmanager
def open_sqlite(template: Path, folder: Path) -> Iterator[SqlDatabase]:
    with closing(SqlDatabase(copy_of(template, folder), wait_s=10)) as database:
        yield database


def copy_of(template: Path, folder: Path) -> str:
    """Copy a migrated file, which is quicker than migrating another one; return its URL."""
    file = folder / "registry.db"
    shutil.copy(template, file)
    return f"sqlite:///{file}"


@contextmanager
def open_postgresql(_template: Path, _folder: Path) -> Iterator[SqlDatabase]:
    with closing(SqlDatabase(emptied_postgresql(), wait_s=10)) as database:
        yield database


def emptied_postgresql() -> str:
    """Empty the one database of this process, ten times quicker than a new one; return its URL."""
    url = _migrated_postgresql()
    with shared_postgres_server().connect(EMPTIED) as connection:
        connection.execute(_write_emptying())
    return url


@cache
def _migrated_postgresql() -> str:
    url = shared_postgres_server().create_database(EMPTIED)
    with closing(SqlDatabase(url)) as database:
        database.migrate()
    return url


@cache
def _write_emptying() -> bytes:
    """Return statements that remove all rows, and let their numbers begin anew."""
    # As a replica, which takes rows away in any order. TRUNCATE would make a new file a table.
    lines = ["SET session_replication_role = replica"]
    lines += [str(table.delete()) for table in METADATA.tables.values()]
    lines += [
        "SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'",
        "SET session_replication_role = DEFAULT",
    ]
    return ";\n".join(lines).encode()


Opener = Callable[[Path, Path], AbstractContextManager[Database]]

OPENERS: dict[str, Opener] = {
    "memory": open_memory,
    "sqlite": open_sqlite,
    "postgresql": open_postgresql,
}
