"""A registry over each database in turn."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from care.worlds import World
from database_suite.databases import OPENERS
from plait_registry.adapters.sql.database import SqlDatabase


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema and nothing else."""
    file = tmp_path_factory.mktemp("template") / "registry.db"
    with closing(SqlDatabase(f"sqlite:///{file}")) as database:
        database.migrate()
    return file


@pytest.fixture(params=OPENERS)
def world(request: pytest.FixtureRequest, migrated_file: Path, tmp_path: Path) -> Iterator[World]:
    """A registry with an empty repository."""
    with OPENERS[request.param](migrated_file, tmp_path) as database:
        yield World(database)
