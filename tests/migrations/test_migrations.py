"""The schema goes up and down, and is what the code believes it to be."""

import io
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from database_suite.rows import make_repository
from plait.errors import Internal, Unavailable
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.sql.dialect import allow_writes
from plait_registry.adapters.sql.migrating import build_config, find_scripts, upgrade
from plait_registry.adapters.sql.tables import METADATA
from plait_registry.domain.records import RepositoryQuery

MIGRATE = """
import sys
from plait_registry.adapters.sql.database import SqlDatabase
database = SqlDatabase(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
database.migrate()
database.check()
database.close()
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqlDatabase]:
    # A percent sign and a space, which settings files would read as something else.
    folder = tmp_path / "100% data"
    folder.mkdir()
    with closing(SqlDatabase(f"sqlite:///{folder}/registry.db")) as opened:
        yield opened


def downgrade(connection: Connection, revision: str) -> None:
    with allow_writes(connection).begin():
        command.downgrade(build_config(connection), revision)


def table_names(database: SqlDatabase) -> set[str]:
    with database._engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def head() -> str | None:
    return ScriptDirectory.from_config(build_config()).get_current_head()


def test_new_database_goes_up_down_and_up_again(database: SqlDatabase) -> None:
    assert database.schema_revision() is None
    database.migrate()
    assert database.schema_revision() == head()
    assert table_names(database) == {*METADATA.tables, "alembic_version"}
    make_repository(database)
    with database._engine.connect() as connection:
        downgrade(connection, "base")
    assert table_names(database) == {"alembic_version"}
    assert database.schema_revision() is None
    database.migrate()
    assert table_names(database) == {*METADATA.tables, "alembic_version"}
    make_repository(database)


def test_migrated_schema_is_that_of_the_code(database: SqlDatabase) -> None:
    database.migrate()
    with database._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, METADATA) == []


def test_migrated_tables_are_written_like_those_of_the_code(
    database: SqlDatabase, tmp_path: Path
) -> None:
    """Also what Alembic does not compare: primary keys, checks, collations, WITHOUT ROWID."""
    database.migrate()
    with closing(SqlDatabase(f"sqlite:///{tmp_path}/other.db")) as other:
        with other._engine.connect() as connection, allow_writes(connection).begin():
            METADATA.create_all(connection)
        assert read_schema(database) == read_schema(other)


def read_schema(database: SqlDatabase) -> dict[str, list[str]]:
    """Return the lines of each CREATE statement, sorted: constraints come in any order."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    with database._engine.connect() as connection:
        rows = connection.exec_driver_sql(query).all()
    return {
        name: sorted(line.strip(" \t,") for line in sql.splitlines())
        for name, sql in rows
        if name != "alembic_version"
    }


def test_migrating_twice_changes_nothing(database: SqlDatabase) -> None:
    database.migrate()
    repository = make_repository(database)
    database.migrate()
    with database.read() as records:
        assert [record.id for record in records.repositories.search(RepositoryQuery())] == [
            repository
        ]


def test_processes_that_migrate_at_once_all_succeed(database: SqlDatabase) -> None:
    command_line = [sys.executable, "-c", MIGRATE, str(database._url)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command_line, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    outcomes = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert outcomes == [(b"", 0)] * 3
    assert database.schema_revision() == head()


def test_new_file_that_others_hold_is_waited_for_then_reported_as_busy(
    database: SqlDatabase,
) -> None:
    file = database._engine.url.database or ""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE held (id)")
        # A reader is enough to stand in the way of WAL, and SQLite does not wait for it by itself.
        other.execute("BEGIN")
        other.execute("SELECT * FROM held").fetchall()
        with pytest.raises(Unavailable) as caught:
            SqlDatabase(database._url, wait_s=0.1).migrate()
        assert caught.value.kind == "busy"
        other.execute("ROLLBACK")
        other.execute("DROP TABLE held")
    database.migrate()


def test_migration_that_fails_leaves_no_trace(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "plait_registry.adapters.sql.migrating._verify_foreign_keys",
        lambda connection: connection.exec_driver_sql("SELECT * FROM absent"),
    )
    with pytest.raises(Unavailable):
        database.migrate()
    assert table_names(database) == set()
    monkeypatch.undo()
    database.migrate()


def test_migration_that_breaks_a_reference_is_refused(database: SqlDatabase) -> None:
    database.migrate()
    with database._engine.connect() as connection:
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        with allow_writes(connection).begin():
            connection.exec_driver_sql("INSERT INTO retired_tags VALUES (77, 'v1')")
    with pytest.raises(Internal, match="1 rows"):
        database.migrate()


def test_database_of_a_newer_plait_is_refused(database: SqlDatabase) -> None:
    database.migrate()
    with database._engine.connect() as connection, allow_writes(connection).begin():
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match="newer plait"):
        database.migrate()
    assert database.schema_revision() == "9999"


def test_unknown_revision_is_refused(database: SqlDatabase) -> None:
    with pytest.raises(Unavailable):
        upgrade(database._url, wait_s=1, revision="absent")


def test_migrations_can_be_written_out_for_postgresql() -> None:
    config = build_config()
    config.attributes["dialect"] = "postgresql"
    out = io.StringIO()
    config.output_buffer = out
    command.upgrade(config, "head", sql=True)
    text = out.getvalue()
    assert text.count("CREATE TABLE") == len(METADATA.tables) + 1
    assert 'sha256 VARCHAR(64) COLLATE "C" NOT NULL' in text
    assert "id BIGSERIAL NOT NULL" in text
    assert "ROWID" not in text


def test_scripts_are_found_in_the_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (find_scripts() / "env.py").is_file()
    (tmp_path / "migrations").mkdir()
    monkeypatch.setattr("plait_registry.__file__", str(tmp_path / "__init__.py"))
    assert find_scripts() == tmp_path / "migrations"
