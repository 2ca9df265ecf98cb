"""What a transaction promises, over every database, with real threads."""

from collections.abc import Callable
from pathlib import Path

import pytest

from database_suite.databases import OPENERS
from database_suite.racing import race
from database_suite.rows import (
    History,
    branch,
    insert_commits,
    make_repository,
    new_repository,
    store_commits,
)
from plait.errors import Conflict, PlaitError, Unavailable
from plait.model.address import RepositoryName
from plait.model.refs import RefName
from plait_registry.domain.ports import Database, Records
from plait_registry.domain.records import CommitRow, RepositoryId

MAIN = RefName("main")


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    return make_repository(database)


@pytest.fixture
def commits(database: Database, repository: RepositoryId) -> list[CommitRow]:
    """Twenty commits in the repository."""
    rows = History().chain(20)
    store_commits(database, repository, rows)
    return rows


def test_exception_undoes_everything_of_the_block(database: Database) -> None:
    name, rows = RepositoryName("team", "sql"), History().chain(2)

    def fail_by_itself() -> None:
        with database.write() as records:
            records.repositories.insert(new_repository(name, "", ""))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_by_itself()
    repository = make_repository(database)

    def fail_at_the_end() -> None:
        with database.write() as records:
            insert_commits(records, repository, rows)
            records.refs.compare_and_set(repository, branch("other", None, rows[0]))
            records.refs.compare_and_set(repository, branch("main", rows[1], rows[0]))

    with pytest.raises(Conflict):
        fail_at_the_end()
    with database.read() as records:
        assert records.commits.load(repository, [row.id for row in rows]) == {}
        assert list(records.refs.list(repository)) == []


def test_write_sees_its_own_changes_and_others_see_them_at_its_end(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    with database.write() as writing:
        writing.refs.compare_and_set(repository, branch("main", None, commits[0]))
        assert writing.refs.find(repository, MAIN) is not None
        with database.read() as reading:
            assert reading.refs.find(repository, MAIN) is None
    with database.read() as reading:
        assert reading.refs.find(repository, MAIN) is not None


def test_reader_keeps_the_view_that_it_began_with(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    with database.read() as reading:
        assert reading.refs.find(repository, MAIN) is None
        with database.write() as writing:
            writing.refs.compare_and_set(repository, branch("main", None, commits[0]))
            writing.repositories.insert(new_repository(RepositoryName("team", "later"), "", ""))
        assert reading.refs.find(repository, MAIN) is None
        assert list(reading.refs.list(repository)) == []
        with pytest.raises(PlaitError):
            reading.repositories.get(RepositoryName("team", "later"))


@pytest.mark.parametrize(
    "change",
    [
        lambda records, row: records.repositories.insert(
            new_repository(RepositoryName("a", "b"), "", "")
        ),
        lambda records, row: records.refs.compare_and_set(1, branch("main", None, row)),
        lambda records, row: records.files.insert_manifests({"0" * 64: b""}),
        lambda records, row: records.pushes.forget_uploads(1, ["0" * 64]),
    ],
    ids=["repository", "ref", "manifest", "upload"],
)
def test_read_transaction_cannot_write(
    database: Database,
    repository: RepositoryId,
    commits: list[CommitRow],
    change: Callable[[Records, CommitRow], object],
) -> None:
    with pytest.raises(PlaitError), database.read() as records:
        change(records, commits[0])
    with database.write() as records:
        records.repositories.insert(new_repository(RepositoryName("a", "b"), "", ""))


def test_of_eight_threads_on_one_branch_exactly_one_wins(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    with database.write() as records:
        records.refs.compare_and_set(repository, branch("main", None, commits[0]))

    def move(number: int) -> bool:
        update = branch("main", commits[0], commits[1 + number])
        try:
            database.transact(lambda records: records.refs.compare_and_set(repository, update))
        except Conflict:
            return False
        return True

    won = race(8, move)
    assert sum(won) == 1
    with database.read() as records:
        found = records.refs.find(repository, MAIN)
    assert found is not None
    assert found.target == commits[1 + won.index(True)].id


def test_of_twenty_threads_on_twenty_branches_all_win(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    def move(number: int) -> bool:
        update = branch(f"branch-{number}", None, commits[number])
        database.transact(lambda records: records.refs.compare_and_set(repository, update))
        return True

    assert all(race(20, move))
    with database.read() as records:
        refs = {ref.name: ref.target for ref in records.refs.list(repository)}
    assert refs == {f"branch-{number}": commits[number].id for number in range(20)}


def test_forty_readers_work_beside_a_writer(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    ids = [row.id for row in commits]

    def work(number: int) -> bool:
        if number == 0:
            with database.write() as records:
                records.refs.compare_and_set(repository, branch("main", None, commits[0]))
        with database.read() as records:
            return len(records.commits.load(repository, ids)) == 20

    assert all(race(41, work))


def test_write_after_a_failed_one_works(database: Database, repository: RepositoryId) -> None:
    for _ in range(3):
        with pytest.raises(PlaitError), database.write() as records:
            records.files.link(repository, ["0" * 64])  # type: ignore[list-item]
    with database.write() as records:
        assert records.repositories.get(RepositoryName("team", "sql")).id == repository


def test_transact_returns_what_its_work_returns(database: Database) -> None:
    name = RepositoryName("team", "sql")
    made = database.transact(lambda r: r.repositories.insert(new_repository(name, "", "")))
    with database.read() as records:
        assert records.repositories.get(name) == made


def test_exception_of_transacted_work_undoes_it_and_comes_out_at_once(database: Database) -> None:
    runs = []

    def work(records: Records) -> None:
        runs.append(records)
        records.repositories.insert(new_repository(RepositoryName("team", "sql"), "", ""))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.transact(work)
    assert len(runs) == 1
    make_repository(database)


@pytest.mark.parametrize("name", ["memory", "sqlite"])
def test_write_that_waits_too_long_is_told_that_the_database_is_busy(
    name: str, migrated_file: Path, tmp_path: Path
) -> None:
    with OPENERS[name](migrated_file, tmp_path) as database:
        database._wait_s = 0.05  # type: ignore[attr-defined]
        with database.write(), pytest.raises(Unavailable) as caught, database.write():
            pytest.fail("two writes at once")
    assert caught.value.kind == "busy"
