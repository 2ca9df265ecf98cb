"""What SQLite's failures become, and what survives them."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from database_suite.databases import copy_of
from database_suite.rows import History, branch, make_repository, new_repository, store_commits
from plait.errors import Conflict, Internal, InvalidInput, NotFound, Unavailable
from plait.model.address import RepositoryName
from plait.model.refs import RefName
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.sql.driver_errors import translate

SLOW_WRITER = """
import sys, time
from plait.model.address import RepositoryName
from plait_registry.domain.records import NewRepository
from plait_registry.adapters.sql.database import SqlDatabase
with SqlDatabase(sys.argv[1]).write() as records:
    for number in range(2_000):
        name = RepositoryName("dead", f"r{number}")
        records.repositories.insert(NewRepository(name, "x" * 1_000, "", False, b"salt"))
    print("writing", flush=True)
    time.sleep(60)
"""


def file_of(database: SqlDatabase) -> str:
    return database._engine.url.database or ""


def test_connections_are_durable_and_check_foreign_keys(sqlite: SqlDatabase) -> None:
    with sqlite._engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_full_disk_changes_nothing_and_says_so(sqlite: SqlDatabase) -> None:
    limit = [60]

    def limit_pages(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit[0]}")

    event.listen(sqlite._engine, "connect", limit_pages)
    sqlite.close()

    def fill() -> None:
        with sqlite.write() as records:
            for number in range(1_000):
                records.repositories.insert(
                    new_repository(RepositoryName("full", f"r{number}"), "x" * 1_000, "")
                )

    with pytest.raises(Unavailable) as caught:
        fill()
    assert caught.value.kind == "disk-full"
    limit[0] = 100_000
    sqlite.close()
    make_repository(sqlite, "full/r0")


def test_lock_of_another_process_is_waited_for_then_reported_as_busy(
    migrated_file: Path, tmp_path: Path
) -> None:
    url = copy_of(migrated_file, tmp_path)
    with (
        closing(SqlDatabase(url, wait_s=0.1)) as database,
        closing(sqlite3.connect(file_of(database), isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught, database.write():
            pytest.fail("two writes at once")
        assert caught.value.kind == "busy"
        other.execute("ROLLBACK")
        make_repository(database)


def test_lock_of_another_process_is_waited_for_while_it_is_short(sqlite: SqlDatabase) -> None:
    with closing(
        sqlite3.connect(file_of(sqlite), isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, other.execute, ["COMMIT"])
        release.start()
        make_repository(sqlite)
        release.join()


def test_two_databases_on_one_file_let_one_of_eight_threads_win(sqlite: SqlDatabase) -> None:
    rows = History().chain(9)
    repository = make_repository(sqlite)
    store_commits(sqlite, repository, rows)
    barrier = threading.Barrier(8)
    with closing(SqlDatabase(sqlite._url, wait_s=10)) as second:

        def move(number: int) -> bool:
            barrier.wait()
            try:
                with (sqlite, second)[number % 2].write() as records:
                    records.refs.compare_and_set(repository, branch("main", None, rows[number]))
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(move, range(8)))
    assert sum(won) == 1
    with sqlite.read() as records:
        found = records.refs.find(repository, RefName("main"))
    assert found is not None
    assert found.target == rows[won.index(True)].id


def test_process_that_is_killed_while_it_writes_leaves_nothing(sqlite: SqlDatabase) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(sqlite._url)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        os.kill(process.pid, signal.SIGKILL)
    make_repository(sqlite)
    with sqlite.read() as records, pytest.raises(NotFound):
        records.repositories.get(RepositoryName("dead", "r0"))


def test_database_without_schema_tells_to_migrate(tmp_path: Path) -> None:
    with closing(SqlDatabase(f"sqlite:///{tmp_path}/new.db")) as database:
        with pytest.raises(Unavailable, match="plait-registry migrate"):
            database.check()
        assert database.schema_revision() is None
        database.migrate()
        database.check()


def test_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    file.write_bytes(b"something else entirely" * 100)
    with closing(SqlDatabase(f"sqlite:///{file}")) as database:
        for use in (database.check, database.migrate, database.schema_revision):
            with pytest.raises(Unavailable) as caught:
                use()
            assert caught.value.kind == "unavailable"
    assert file.read_bytes() == b"something else entirely" * 100


def test_file_in_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with closing(SqlDatabase(f"sqlite:///{tmp_path}/absent/registry.db")) as database:
        with pytest.raises(Unavailable), database.read():
            pytest.fail("a database out of nothing")
        with pytest.raises(Unavailable):
            database.migrate()


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://h/d"])
def test_url_that_is_no_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        SqlDatabase(url)


def test_no_free_connection_is_busy_and_wrong_use_is_internal() -> None:
    assert translate(PoolTimeout()).kind == "busy"
    assert isinstance(translate(InvalidRequestError("closed")), Internal)
