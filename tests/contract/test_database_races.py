"""Transactions that meet, over every database: one goes first, whichever it is."""

from itertools import pairwise

import pytest

from database_suite.racing import race
from database_suite.rows import (
    ALL,
    History,
    branch,
    digest,
    file_row,
    insert_commits,
    make_repository,
    new_repository,
    store_commits,
    tag,
    whole_file,
)
from plait.errors import AlreadyExists, Conflict, PlaitError
from plait.model.address import RepositoryName
from plait.model.refs import RefName, RefUpdate
from plait_registry.domain.ports import Database, Records
from plait_registry.domain.records import (
    CommitRow,
    Extent,
    ObjectRow,
    RepositoryId,
    RepositoryQuery,
    TensorRow,
)

THREADS = 20
MAIN = RefName("main")


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    return make_repository(database)


@pytest.fixture
def commits(database: Database, repository: RepositoryId) -> list[CommitRow]:
    rows = History().chain(2 * THREADS)
    store_commits(database, repository, rows)
    return rows


def point(database: Database, repository: RepositoryId, update: RefUpdate) -> None:
    database.transact(lambda records: records.refs.compare_and_set(repository, update))


def test_of_twenty_that_move_one_branch_from_one_place_one_wins_each_time(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    before = None
    for targets in (commits[:THREADS], commits[THREADS:], commits[:THREADS]):

        def move(
            number: int, before: CommitRow | None = before, targets: list[CommitRow] = targets
        ) -> str:
            try:
                point(database, repository, branch("main", before, targets[number]))
            except Conflict as error:
                return error.kind
            return "won"

        outcomes = race(len(targets), move)
        assert sorted(outcomes) == sorted(["won"] + ["ref-update-conflict"] * (len(targets) - 1))
        before = targets[outcomes.index("won")]
        with database.read() as records:
            found = records.refs.find(repository, MAIN)
        assert found is not None
        assert found.target == before.id


def test_every_step_of_twenty_that_retry_is_kept(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    """A counter, made of a branch that each moves one commit further."""
    steps = {row.id: following for row, following in pairwise(commits)}
    with database.write() as records:
        records.refs.compare_and_set(repository, branch("main", None, commits[0]))
    by_id = {row.id: row for row in commits}

    def step(records: Records) -> None:
        found = records.refs.find(repository, MAIN)
        assert found is not None
        here = by_id[found.target]
        records.refs.compare_and_set(repository, branch("main", here, steps[here.id]))

    race(len(commits) - 1, lambda _: database.transact(step))
    with database.read() as records:
        found = records.refs.find(repository, MAIN)
    assert found is not None
    assert found.target == commits[-1].id


def test_tag_that_is_deleted_while_others_make_it_anew_stays_retired(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    for number in range(5):
        wanted = tag(f"v{number}", commits[0])
        point(database, repository, wanted)

        def meet(thread: int, name: str = wanted.name) -> str:
            def work(records: Records) -> None:
                if thread == 0:
                    records.refs.delete(repository, RefName(name), commits[0].id)
                else:
                    records.refs.compare_and_set(repository, tag(name, commits[1]))

            try:
                database.transact(work)
            except (Conflict, AlreadyExists) as error:
                return error.kind
            return "done"

        outcomes = race(6, meet)
        assert outcomes[0] == "done"
        assert set(outcomes[1:]) <= {"ref-exists", "tag-name-retired"}
        with database.read() as records:
            assert records.refs.find(repository, RefName(wanted.name)) is None
        with pytest.raises(Conflict) as caught:
            point(database, repository, wanted)
        assert caught.value.kind == "tag-name-retired"


def test_repository_that_several_make_is_made_once(database: Database) -> None:
    def make(number: int) -> str:
        # In another case each time, which is the same name.
        name = RepositoryName("team", "Sql" if number % 2 else "sql")
        try:
            database.transact(
                lambda r: r.repositories.insert(new_repository(name, str(number), ""))
            )
        except AlreadyExists as error:
            return error.kind
        return "made"

    outcomes = race(8, make)
    assert sorted(outcomes) == sorted(["made"] + ["repository-exists"] * 7)
    with database.read() as records:
        (found,) = records.repositories.search(RepositoryQuery(ALL))
    assert found.description == str(outcomes.index("made"))


def test_same_commits_and_files_that_come_from_all_sides_are_stored_once(
    database: Database,
) -> None:
    """Each pushes into a repository of its own, and half of them name the files backwards."""
    repositories = [make_repository(database, f"team/r{number}") for number in range(10)]
    rows = History().chain(5)
    words = [f"file {number}" for number in range(12)]
    tensors = [TensorRow(digest(f"tensor {number}"), 8 * number, 8) for number in range(50)]
    shared = file_row("shared", Extent(digest("shared"), 0, 400), tensors=tensors, table="table")

    def push(number: int) -> None:
        pairs = [whole_file(word) for word in words]
        pairs.append((shared, ObjectRow(digest("shared"), 400)))
        if number % 2:
            pairs.reverse()

        def work(records: Records) -> None:
            files, objects = [file for file, _ in pairs], [item for _, item in pairs]
            records.files.insert(repositories[number], files, objects)
            insert_commits(records, repositories[number], rows)
            wanted = branch("main", None, rows[-1])
            records.refs.compare_and_set(repositories[number], wanted)

        database.transact(work)

    race(10, push)
    ids = [digest(word) for word in [*words, "shared"]]
    with database.read() as records:
        for repository in repositories:
            found = records.refs.find(repository, MAIN)
            assert found is not None
            assert found.target == rows[-1].id
            assert records.commits.load(repository, [row.id for row in rows]).keys() == {
                row.id for row in rows
            }
            assert records.files.load_extents(repository, ids).keys() == set(ids)


def test_repository_that_is_deleted_during_pushes_ends_gone_or_whole(
    database: Database,
) -> None:
    rows = History().chain(3)
    for round_number in range(3):
        name = RepositoryName("team", f"r{round_number}")
        make_repository(database, str(name))

        def meet(number: int, name: RepositoryName = name) -> str:
            def work(records: Records) -> None:
                repository = records.repositories.get(name).id
                if number == 0:
                    records.repositories.delete(repository)
                    return
                insert_commits(records, repository, rows)
                wanted = branch(f"branch-{number}", None, rows[-1])
                records.refs.compare_and_set(repository, wanted)

            try:
                database.transact(work)
            except PlaitError as error:
                return error.kind
            return "done"

        outcomes = race(5, meet)
        assert outcomes[0] == "done"
        assert set(outcomes[1:]) <= {"done", "repository-not-found"}
        with database.read() as records, pytest.raises(PlaitError):
            records.repositories.get(name)
        # Nothing of it is in the way of a new one.
        repository = make_repository(database, str(name))
        with database.read() as records:
            assert list(records.refs.list(repository)) == []
