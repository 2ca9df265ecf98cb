"""What PostgreSQL is asked for, and what its refusals become."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from database_suite.databases import EMPTIED, emptied_postgresql, open_postgresql
from database_suite.rows import (
    History,
    branch,
    make_repository,
    new_repository,
    push_row,
    store_commits,
)
from plait.errors import Conflict, Internal, InvalidInput, PlaitError, Unavailable
from plait.model.address import RepositoryName
from plait.model.refs import RefName
from plait_registry.adapters.sql import dialect
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.sql.dialect import begin
from plait_registry.adapters.sql.driver_errors import translate
from plait_registry.adapters.sql.limits import Access
from plait_registry.adapters.sql.refs import SqlRefTable
from plait_registry.domain.ports import Records
from plait_registry.domain.records import CommitRow, RepositoryId, StagedCommit
from served.postgres import shared_postgres_server

MAIN = RefName("main")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[SqlDatabase]:
    with open_postgresql(tmp_path, tmp_path) as database:
        yield database


@pytest.fixture
def repository(postgres: SqlDatabase) -> RepositoryId:
    return make_repository(postgres)


@pytest.fixture
def commits(postgres: SqlDatabase, repository: RepositoryId) -> list[CommitRow]:
    rows = History().chain(4)
    store_commits(postgres, repository, rows)
    return rows


def ask(database: SqlDatabase, access: Access, *questions: str) -> list[Any]:
    with database._engine.connect() as connection, begin(connection, access):
        return [connection.exec_driver_sql(question).scalar_one() for question in questions]


def point(database: SqlDatabase, repository: RepositoryId, new: CommitRow) -> None:
    """Move main to `new` from wherever it is."""

    def move(records: Records) -> None:
        found = records.refs.find(repository, MAIN)
        wanted = branch("main", None, new)
        if found is not None:
            records.refs.delete(repository, MAIN, found.target)
        records.refs.compare_and_set(repository, wanted)

    database.transact(move)


@pytest.mark.parametrize(
    ("access", "isolation", "read_only"),
    [
        (Access.READ, "repeatable read", "on"),
        (Access.WRITE, "serializable", "off"),
        (Access.WRITE_ALONE, "serializable", "off"),
        (Access.MIGRATE, "read committed", "off"),
    ],
)
def test_transaction_has_the_isolation_of_its_kind(
    postgres: SqlDatabase, access: Access, isolation: str, read_only: str
) -> None:
    found = ask(postgres, access, "SHOW transaction_isolation", "SHOW transaction_read_only")
    assert found == [isolation, read_only]


def test_connection_brings_its_limits_and_its_name() -> None:
    with closing(SqlDatabase(emptied_postgresql(), wait_s=2.5, statement_s=7)) as database:
        names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
        found = ask(database, Access.READ, *(f"SHOW {name}" for name in names))
        assert found == ["7s", "2500ms", "1min"]
        assert ask(database, Access.READ, "SHOW application_name") == ["plait"]


def test_options_of_the_url_win() -> None:
    url = f"{emptied_postgresql()}&options=-c%20statement_timeout%3D90s"
    with closing(SqlDatabase(url)) as database:
        found = ask(database, Access.READ, "SHOW statement_timeout", "SHOW lock_timeout")
        assert found == ["90s", "30s"]


def test_read_costs_one_message_beside_its_queries(postgres: SqlDatabase) -> None:
    make_repository(postgres)
    statements: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(postgres._engine, "before_cursor_execute", record)
    with postgres.read() as records:
        records.repositories.get(RepositoryName("team", "sql"))
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "SELECT"]


def test_write_that_lost_is_busy_and_transact_runs_it_again(
    postgres: SqlDatabase, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    point(postgres, repository, commits[0])

    def lose() -> None:
        with postgres.write() as records:
            assert records.refs.find(repository, MAIN) is not None
            point(postgres, repository, commits[1])
            records.refs.compare_and_set(repository, branch("main", commits[0], commits[2]))

    with pytest.raises(Unavailable) as caught:
        lose()
    assert caught.value.kind == "busy"
    seen = []
    retries: list[None] = []
    postgres.on_retry = lambda: retries.append(None)

    def work(records: Records) -> None:
        found = records.refs.find(repository, MAIN)
        assert found is not None
        seen.append(found.target)
        if len(seen) == 1:
            point(postgres, repository, commits[2])
        records.refs.compare_and_set(repository, branch("main", commits[1], commits[3]))

    # The second look sees the truth.
    with pytest.raises(Conflict):
        postgres.transact(work)
    assert seen == [commits[1].id, commits[2].id]
    assert len(retries) == 1


def test_write_skew_is_seen_although_no_row_is_written_twice(
    postgres: SqlDatabase, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    """Each of two makes its branch only because the other one's is not there."""
    first, second = RefName("first"), RefName("second")

    def make(records: Records, mine: RefName, other: RefName) -> None:
        if records.refs.find(repository, other) is None:
            records.refs.compare_and_set(repository, branch(mine, None, commits[0]))

    met: list[bool] = []

    def work(records: Records) -> None:
        if not met:
            met.append(True)
            assert records.refs.find(repository, second) is None
            postgres.transact(lambda others: make(others, second, first))
        make(records, first, second)

    postgres.transact(work)
    with postgres.read() as records:
        assert [ref.name for ref in records.refs.list(repository)] == [second]


def test_write_that_lost_runs_again_with_all_others_waiting(
    postgres: SqlDatabase, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    point(postgres, repository, commits[0])
    kinds: list[str] = []
    with closing(SqlDatabase(postgres._url, wait_s=0.1)) as impatient:

        def work(records: Records) -> None:
            found = records.refs.find(repository, MAIN)
            assert found is not None
            try:
                point(impatient, repository, commits[1 + len(kinds)])
                kinds.append("done")
            except Unavailable as error:
                kinds.append(error.kind)
            with impatient.read() as reading:
                assert reading.refs.find(repository, MAIN) is not None
            records.refs.delete(repository, MAIN, found.target)

        postgres.transact(work)
    assert kinds == ["done", "busy"]


def test_swap_that_another_one_forestalled_is_a_conflict_without_serializable_too(
    postgres: SqlDatabase, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    """The statements carry the expected target: isolation is not what keeps the swap right."""
    point(postgres, repository, commits[0])

    def forestall(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE refs"):
            point(postgres, repository, commits[1])

    with postgres._engine.connect() as connection, begin(connection, Access.MIGRATE):
        event.listen(postgres._engine, "before_cursor_execute", forestall)
        with pytest.raises(Conflict) as caught:
            SqlRefTable(connection).compare_and_set(
                repository, branch("main", commits[0], commits[2])
            )
    assert caught.value.details["actual"] == commits[1].id


def test_lock_that_is_held_too_long_is_busy(postgres: SqlDatabase) -> None:
    with (
        closing(SqlDatabase(postgres._url, wait_s=0.1)) as impatient,
        shared_postgres_server().connect(EMPTIED) as other,
        other.transaction(),
    ):
        other.execute("LOCK TABLE repositories IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable) as caught:
            make_repository(impatient)
    assert caught.value.kind == "busy"


def test_statement_that_takes_too_long_is_ended(postgres: SqlDatabase) -> None:
    with closing(SqlDatabase(postgres._url, statement_s=1)) as database:
        with pytest.raises(Unavailable, match="too long") as caught, database.read() as records:
            records.refs._connection.execute(text("SELECT pg_sleep(20)"))  # type: ignore[attr-defined]
        assert caught.value.kind == "unavailable"
        database.check()


def test_connections_beyond_the_pool_wait_then_are_busy(postgres: SqlDatabase) -> None:
    with closing(SqlDatabase(postgres._url, wait_s=0.1, pool=1)) as database:
        with database.read(), database.read(), pytest.raises(Unavailable) as caught:
            database.check()
        assert caught.value.kind == "busy"
        database.check()


def test_broken_rule_is_internal_and_does_not_quote_the_row(
    postgres: SqlDatabase, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    with pytest.raises(Internal) as caught, postgres.write() as records:
        records.refs._connection.execute(  # type: ignore[attr-defined]
            text("INSERT INTO manifests (id, body) VALUES ('secret', ''), ('secret', '')")
        )
    assert "secret" not in caught.value.message


def test_rule_that_is_still_broken_alone_is_internal(
    postgres: SqlDatabase, repository: RepositoryId
) -> None:
    runs = []

    def work(records: Records) -> None:
        runs.append(records)
        records.files.link(repository, ["0" * 64])  # type: ignore[list-item]

    with pytest.raises(Internal):
        postgres.transact(work)
    assert len(runs) == 2


def test_database_without_schema_tells_to_migrate() -> None:
    server = shared_postgres_server()
    name = server.new_database()
    with closing(SqlDatabase(server.url(name))) as database:
        assert database.schema_revision() is None
        for use in (database.check, lambda: make_repository(database)):
            with pytest.raises(Unavailable, match="plait-registry migrate"):
                use()
        database.migrate()
        database.check()
    server.drop_database(name)


def test_database_that_is_not_there_is_unavailable() -> None:
    with closing(SqlDatabase(shared_postgres_server().url("absent"))) as database:
        for use in (database.check, database.migrate, database.schema_revision):
            with pytest.raises(Unavailable, match="absent") as caught:
                use()
            assert caught.value.kind == "unavailable"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("08006", "unavailable"),
        ("0A000", "unavailable"),
        ("23505", "internal"),
        ("25006", "unavailable"),
        ("28P01", "unavailable"),
        ("40001", "busy"),
        ("40P01", "busy"),
        ("42601", "internal"),
        ("53100", "disk-full"),
        ("53300", "unavailable"),
        ("55P03", "busy"),
        ("57014", "unavailable"),
        ("57P01", "unavailable"),
        ("57P03", "unavailable"),
    ],
)
def test_every_refusal_has_its_kind(code: str, kind: str) -> None:
    cause = psycopg.errors.lookup(code)("what it said\nand more")
    error = translate(DBAPIError("SELECT 1", None, cause))
    assert error.kind == kind
    assert "more" not in error.message


def test_what_the_driver_says_by_itself_is_unavailable_or_internal() -> None:
    gone = psycopg.OperationalError("server closed the connection unexpectedly\n\tprobably")
    assert translate(OperationalError("", None, gone)).kind == "unavailable"
    nonsense = psycopg.ProgrammingError("cannot adapt type")
    assert translate(ProgrammingError("", None, nonsense)).kind == "internal"
    broken = psycopg.errors.ForeignKeyViolation("a row is missing")
    assert translate(IntegrityError("", None, broken)).kind == "internal"


def test_text_that_postgresql_cannot_hold_is_the_callers_mistake(postgres: SqlDatabase) -> None:
    with pytest.raises(InvalidInput, match="NUL"), postgres.write() as records:
        records.repositories.insert(new_repository(RepositoryName("a", "b"), "\0", ""))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://user:secret@host/registry",
        "postgresql+psycopg2://user:secret@host/registry",
        "mysql://user:secret@host/registry",
        "postgresql+psycopg://user:secret@host:secret/registry",
        "postgresql+psycopg:/user:secret@host",
    ],
)
def test_refused_url_is_shown_without_its_password(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SqlDatabase(url)
    assert "secret" not in caught.value.message
    assert caught.value.__cause__ is None


def test_password_is_in_no_message_about_a_server_that_is_away() -> None:
    with closing(SqlDatabase("postgresql://user:secret@127.0.0.1:1/registry")) as database:
        with pytest.raises(Unavailable) as caught:
            database.check()
        error: BaseException | None = caught.value
        while error is not None:
            assert "secret" not in f"{error!r} {error}"
            error = error.__cause__ or error.__context__


def test_rows_keep_their_order_over_every_size_of_insert(
    postgres: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are inserted as arrays are numbered in the order in which they came."""
    repository = make_repository(postgres)
    monkeypatch.setattr(dialect, "MOST_ROWS", 700)
    rows = History().chain(3_000)
    staged = [StagedCommit(row.id, row.body) for row in rows]
    push = push_row(repository, branch("main", None, rows[-1]))
    with postgres.write() as records:
        records.pushes.insert(push)
        records.pushes.stage(push.id, staged, [])
    with postgres.read() as records:
        assert list(records.pushes.load_staged(push.id)[0]) == staged


def test_threads_share_one_database(postgres: SqlDatabase) -> None:
    errors: list[PlaitError] = []

    def use() -> None:
        try:
            for _ in range(5):
                postgres.check()
        except PlaitError as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
