"""Every adapter of the database port. A further one is one line in `OPENERS`."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.ports import Database


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


Opener = Callable[[Path, Path], AbstractContextManager[Database]]

OPENERS: dict[str, Opener] = {
    "memory": open_memory,
    "sqlite": open_sqlite,
}
