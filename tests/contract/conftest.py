"""The adapters that the contract suites run over."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from database_suite.databases import OPENERS, open_sqlite
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.ports import Database


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema and nothing else."""
    file = tmp_path_factory.mktemp("template") / "registry.db"
    with closing(SqlDatabase(f"sqlite:///{file}")) as database:
        database.migrate()
    return file


@pytest.fixture(params=OPENERS)
def database(
    request: pytest.FixtureRequest, migrated_file: Path, tmp_path: Path
) -> Iterator[Database]:
    """An empty database, of each kind in turn."""
    with OPENERS[request.param](migrated_file, tmp_path) as opened:
        yield opened


@pytest.fixture
def sqlite(migrated_file: Path, tmp_path: Path) -> Iterator[SqlDatabase]:
    """An empty SQLite database, for what only SQL has: queries, plans and drivers' errors."""
    with open_sqlite(migrated_file, tmp_path) as opened:
        yield opened
