"""A PostgreSQL that goes away and comes back, between transactions and in the middle of them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest

from database_suite.racing import race
from database_suite.rows import (
    History,
    branch,
    insert_commits,
    make_repository,
    new_repository,
    store_commits,
)
from plait.errors import NotFound, Unavailable
from plait.model.address import RepositoryName
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.ports import Records
from served.postgres import PostgresServer, postgres_server

NAME = RepositoryName("team", "half")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this file's own: the others' must not go away."""
    with postgres_server() as running:
        with closing(SqlDatabase(running.create_database("template"))) as database:
            database.migrate()
        yield running


@pytest.fixture
def database(server: PostgresServer) -> Iterator[SqlDatabase]:
    name = server.new_database("template")
    with closing(SqlDatabase(server.url(name), wait_s=20)) as opened:
        yield opened
    server.drop_database(name)


@pytest.mark.parametrize("at_once", [False, True], ids=["stopped", "crashed"])
def test_restart_between_transactions_is_not_noticed(
    server: PostgresServer, database: SqlDatabase, *, at_once: bool
) -> None:
    # Several connections that are then all dead.
    with database.read(), database.read(), database.read():
        database.check()
    make_repository(database, "team/before")
    server.stop(at_once=at_once)
    server.start()
    with database.read() as records:
        records.repositories.get(RepositoryName("team", "before"))
    make_repository(database, "team/after")
    race(8, lambda _: database.check())


@pytest.mark.parametrize("at_once", [False, True], ids=["stopped", "crashed"])
def test_restart_inside_a_write_undoes_it_and_the_next_one_works(
    server: PostgresServer, database: SqlDatabase, *, at_once: bool
) -> None:
    rows = History().chain(3)
    repository = make_repository(database)

    def write(records: Records) -> None:
        records.repositories.insert(new_repository(NAME, "", ""))
        insert_commits(records, repository, rows)
        server.stop(at_once=at_once)
        server.start()
        records.refs.compare_and_set(repository, branch("main", None, rows[-1]))

    with pytest.raises(Unavailable) as caught:
        database.transact(write)
    assert caught.value.kind == "unavailable"
    with database.read() as records:
        assert list(records.refs.list(repository)) == []
        assert records.commits.load(repository, [row.id for row in rows]) == {}
        with pytest.raises(NotFound):
            records.repositories.get(NAME)
    store_commits(database, repository, rows)


def test_restart_inside_a_read_is_unavailable_and_the_next_one_works(
    server: PostgresServer, database: SqlDatabase
) -> None:
    make_repository(database)

    def read() -> None:
        with database.read() as records:
            records.repositories.get(RepositoryName("team", "sql"))
            server.stop()
            server.start()
            records.repositories.get(RepositoryName("team", "sql"))

    with pytest.raises(Unavailable):
        read()
    with database.read() as records:
        records.repositories.get(RepositoryName("team", "sql"))


def test_server_that_is_away_is_unavailable_until_it_is_back(
    server: PostgresServer, database: SqlDatabase
) -> None:
    database.check()
    server.stop()
    try:
        for use in (database.check, database.migrate, lambda: make_repository(database)):
            with pytest.raises(Unavailable) as caught:
                use()
            assert caught.value.kind == "unavailable"
    finally:
        server.start()
    make_repository(database)


def test_connection_that_an_operator_ends_undoes_its_transaction(
    server: PostgresServer, database: SqlDatabase
) -> None:
    def end_all() -> None:
        with server.connect() as operator:
            operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'plait'"
            )

    def write(records: Records) -> None:
        records.repositories.insert(new_repository(NAME, "", ""))
        end_all()

    # Here it is the COMMIT that finds nobody at the other end.
    with pytest.raises(Unavailable):
        database.transact(write)
    with database.read() as records, pytest.raises(NotFound):
        records.repositories.get(NAME)
    end_all()
    make_repository(database, str(NAME))


def test_process_of_the_server_that_is_killed_takes_no_finished_write_along(
    server: PostgresServer, database: SqlDatabase
) -> None:
    """A killed backend makes the server end all others and recover from its log."""
    make_repository(database, "team/finished")
    with database._engine.connect() as connection:
        backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        os.kill(backend, signal.SIGKILL)
        connection.invalidate()
    _wait_for(server)
    with database.read() as records:
        records.repositories.get(RepositoryName("team", "finished"))


def test_twenty_writers_that_ask_again_through_a_restart_all_get_everything_done(
    server: PostgresServer, database: SqlDatabase
) -> None:
    """Also those whose COMMIT was on its way, and may have been done: asking again does no harm."""
    repository = make_repository(database)
    rows = History().chain(3)
    store_commits(database, repository, rows)
    half = threading.Barrier(21, timeout=60)

    def write(number: int) -> int:
        failures = 0
        for step in range(6):

            def work(records: Records, step: int = step) -> None:
                for side in ("a", "b"):
                    wanted = branch(f"{number}-{step}-{side}", None, rows[0])
                    records.refs.compare_and_set(repository, wanted)

            if step == 3:
                half.wait()
            failures += insist(database, work)
        return failures

    def restart() -> int:
        half.wait()
        server.stop()
        server.start()
        return 0

    failures = race(21, lambda number: restart() if number == 20 else write(number))
    assert sum(failures) > 0
    with database.read() as records:
        assert len(records.refs.list(repository)) == 20 * 6 * 2


def insist(database: SqlDatabase, work: Callable[[Records], None]) -> int:
    """Transact until it works; return how often the database was away."""
    for failures in range(600):
        try:
            database.transact(work)
        except Unavailable:
            time.sleep(0.05)
        else:
            return failures
    pytest.fail("the database did not come back")


def _wait_for(server: PostgresServer) -> None:
    for _ in range(200):
        try:
            server.connect().close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the server did not recover")
