"""The schema goes up and down, and is what the code believes it to be."""

import io
import re
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
from sqlalchemy import Connection, inspect, text

from database_suite.first_schema import A, B, complete_first, read_first, write_first
from database_suite.job_rows import insert_job, job_row
from database_suite.rows import ALL, make_repository
from plait.errors import Internal, NotFound, Unavailable
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId
from plait.model.refs import RefName
from plait_registry.adapters.sql import migrating, postgres_engine
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.sql.dialect import begin, build_engine
from plait_registry.adapters.sql.limits import Access
from plait_registry.adapters.sql.migrating import build_config, find_scripts, upgrade
from plait_registry.adapters.sql.postgres_engine import lock_for_migration
from plait_registry.adapters.sql.tables import METADATA
from plait_registry.domain.records import RepositoryQuery
from served.postgres import shared_postgres_server

REVISIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory.from_config(build_config()).walk_revisions()))
]
"""All of them, the first one first."""

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
def sqlite(tmp_path: Path) -> Iterator[SqlDatabase]:
    # A percent sign and a space, which settings files would read as something else.
    folder = tmp_path / "100% data"
    folder.mkdir()
    with closing(SqlDatabase(f"sqlite:///{folder}/registry.db")) as opened:
        yield opened


@pytest.fixture
def postgres() -> Iterator[SqlDatabase]:
    server = shared_postgres_server()
    name = server.new_database()
    with closing(SqlDatabase(server.url(name))) as opened:
        yield opened
    server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> SqlDatabase:
    """A database without a schema, of each kind in turn."""
    opened: SqlDatabase = request.getfixturevalue(request.param)
    return opened


def downgrade(database: SqlDatabase, revision: str) -> None:
    """Take the schema down, by an engine that migrates."""
    engine = build_engine(database._url, database._limits, migrates=True)
    with engine.connect() as connection, begin(connection, Access.MIGRATE):
        command.downgrade(build_config(connection), revision)
    engine.dispose()


def table_names(database: SqlDatabase) -> set[str]:
    with database._engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def head() -> str:
    return REVISIONS[-1]


def test_new_database_goes_up_down_and_up_again(database: SqlDatabase) -> None:
    assert database.schema_revision() is None
    database.migrate()
    assert database.schema_revision() == head()
    assert table_names(database) == {*METADATA.tables, "alembic_version"}
    make_repository(database)
    downgrade(database, "base")
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
    sqlite: SqlDatabase, tmp_path: Path
) -> None:
    """Also what Alembic does not compare: primary keys, checks, collations, WITHOUT ROWID."""
    sqlite.migrate()
    with closing(SqlDatabase(f"sqlite:///{tmp_path}/other.db")) as other:
        create_all(other)
        assert read_schema(sqlite) == read_schema(other)


def test_migrated_tables_of_postgresql_are_those_of_the_code(postgres: SqlDatabase) -> None:
    postgres.migrate()
    server = shared_postgres_server()
    name = server.new_database()
    with closing(SqlDatabase(server.url(name))) as other:
        create_all(other)
        assert read_catalog(postgres) == read_catalog(other)
    server.drop_database(name)


def create_all(database: SqlDatabase) -> None:
    with database._engine.connect() as connection, begin(connection, Access.MIGRATE):
        METADATA.create_all(connection)


def read_catalog(database: SqlDatabase) -> list[set[tuple[object, ...]]]:
    """Return the columns with their types, collations and defaults; constraints; indexes."""
    queries = (
        """SELECT table_name, column_name, data_type, character_maximum_length, collation_name,
        is_nullable, column_default FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name <> 'alembic_version'""",
        """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%%'""",
        """SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'""",
    )
    with database._engine.connect() as connection, begin(connection):
        return [{tuple(row) for row in connection.exec_driver_sql(query)} for query in queries]


# SQLite writes a column that was added later behind the last one, in the same line, and quotes the
# name of a table that was made anew.
_LINE = re.compile(r"\n|, (?=\w+ [A-Z]+)")


def read_schema(database: SqlDatabase) -> dict[str, list[str]]:
    """Return the lines of each CREATE statement, sorted: constraints come in any order."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    with database._engine.connect() as connection:
        rows = connection.exec_driver_sql(query).all()
    return {
        name: sorted(line.strip(" \t,") for line in _LINE.split(sql.replace('"', "")))
        for name, sql in rows
        if name != "alembic_version"
    }


def test_migrating_twice_changes_nothing(database: SqlDatabase) -> None:
    database.migrate()
    repository = make_repository(database)
    database.migrate()
    with database.read() as records:
        assert [record.id for record in records.repositories.search(RepositoryQuery(ALL))] == [
            repository
        ]


@pytest.mark.parametrize("revision", REVISIONS[1:])
def test_step_down_and_up_again_keeps_what_was_there(database: SqlDatabase, revision: str) -> None:
    before = REVISIONS[REVISIONS.index(revision) - 1]
    upgrade(database._url, database._limits, revision=revision)
    with database._engine.connect() as connection, begin(connection, Access.MIGRATE):
        write_first(connection)
        rows = read_first(connection)
    downgrade(database, before)
    assert database.schema_revision() == before
    upgrade(database._url, database._limits, revision=revision)
    with database._engine.connect() as connection, begin(connection):
        assert read_first(connection) == rows


def test_rows_of_the_first_schema_are_there_in_the_newest(database: SqlDatabase) -> None:
    upgrade(database._url, database._limits, revision=REVISIONS[0])
    with database._engine.connect() as connection, begin(connection, Access.MIGRATE):
        write_first(connection)
        rows = read_first(connection)
    database.migrate()
    with database._engine.connect() as connection, begin(connection):
        assert read_first(connection) == rows
    with database.read() as records:
        (found,) = records.repositories.search(RepositoryQuery(ALL))
    assert str(found.name) == "team/old"
    assert found.head == B


def test_old_code_works_on_the_newest_schema(database: SqlDatabase) -> None:
    """While one replica is new already, the others' statements still run."""
    database.migrate()
    with database._engine.connect() as connection, begin(connection, Access.WRITE):
        write_first(connection)
        complete_first(connection)
    with database.read() as records:
        repository = records.repositories.get(RepositoryName("team", "old"))
        assert repository.head == B
        assert records.refs.find(repository.id, RefName("v1")) is None
        assert records.commits.load(repository.id, [CommitId(A), CommitId(B)]).keys() == {A, B}
        assert records.files.load_extents(repository.id, [ObjectId(A)]).keys() == {A}
    make_repository(database)


def test_program_of_before_jobs_deletes_a_repository_that_has_some(database: SqlDatabase) -> None:
    database.migrate()
    repository = make_repository(database)
    job = insert_job(database, job_row("job", repository))
    with database._engine.connect() as connection, begin(connection, Access.WRITE):
        connection.execute(text("DELETE FROM repositories WHERE id = :id"), {"id": repository})
    with database.read() as records, pytest.raises(NotFound):
        records.jobs.get(job.id)


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
    sqlite: SqlDatabase,
) -> None:
    file = sqlite._engine.url.database or ""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE held (id)")
        # A reader is enough to stand in the way of WAL, and SQLite does not wait for it by itself.
        other.execute("BEGIN")
        other.execute("SELECT * FROM held").fetchall()
        with pytest.raises(Unavailable) as caught:
            SqlDatabase(sqlite._url, wait_s=0.1).migrate()
        assert caught.value.kind == "busy"
        other.execute("ROLLBACK")
        other.execute("DROP TABLE held")
    sqlite.migrate()


def test_migration_that_fails_leaves_no_trace(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: Connection, revision: str) -> None:
        migrating_run(connection, revision)
        connection.exec_driver_sql("SELECT * FROM absent")

    migrating_run = migrating._run
    monkeypatch.setattr(migrating, "_run", fail)
    with pytest.raises(Unavailable):
        database.migrate()
    assert table_names(database) == set()
    monkeypatch.undo()
    database.migrate()


def test_process_that_is_killed_while_it_migrates_lets_the_next_one_do_it(
    postgres: SqlDatabase,
) -> None:
    """Its lock goes with its connection."""
    engine = build_engine(postgres._url, postgres._limits, migrates=True)
    with engine.connect() as connection:
        begin(connection, Access.MIGRATE)
        lock_for_migration(connection)
        connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")
        connection.invalidate()
    engine.dispose()
    postgres.migrate()
    assert table_names(postgres) == {*METADATA.tables, "alembic_version"}


def test_migration_waits_for_another_one_but_not_for_ever(
    postgres: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_engine, "LONGEST_MIGRATION_S", 1)
    engine = build_engine(postgres._url, postgres._limits, migrates=True)
    with engine.connect() as connection, begin(connection, Access.MIGRATE):
        lock_for_migration(connection)
        with pytest.raises(Unavailable) as caught:
            postgres.migrate()
    engine.dispose()
    assert caught.value.kind == "busy"
    postgres.migrate()


def test_migration_that_breaks_a_reference_is_refused(sqlite: SqlDatabase) -> None:
    sqlite.migrate()
    with sqlite._engine.connect() as connection:
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        with begin(connection, Access.WRITE):
            connection.exec_driver_sql("INSERT INTO retired_tags VALUES (77, 'v1')")
    with pytest.raises(Internal, match="1 rows"):
        sqlite.migrate()


def test_database_of_a_newer_plait_is_refused(database: SqlDatabase) -> None:
    database.migrate()
    with database._engine.connect() as connection, begin(connection, Access.MIGRATE):
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match="newer plait"):
        database.migrate()
    assert database.schema_revision() == "9999"


def test_unknown_revision_is_refused(database: SqlDatabase) -> None:
    with pytest.raises(Unavailable):
        upgrade(database._url, database._limits, revision="absent")


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
