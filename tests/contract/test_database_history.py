"""Questions about history, over every database, against a plain model."""

import itertools
from collections.abc import Collection, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database_suite.rows import History, make_repository, store_commits
from plait.model.commit_graph import Node
from plait.model.ids import CommitId
from plait_registry.domain.ports import Database
from plait_registry.domain.records import CommitRow, RepositoryId

Shape = list[list[int]]
"""For each commit, what its parents are: numbers of earlier commits, modulo their count."""

SHAPES: st.SearchStrategy[Shape] = st.lists(
    st.lists(st.integers(0, 1_000), max_size=3), min_size=1, max_size=25
)
DEEP_SHAPES: st.SearchStrategy[Shape] = st.lists(
    # Numbers close to the end make long chains with short bridges.
    st.lists(st.integers(-4, -1), min_size=1, max_size=2),
    min_size=1,
    max_size=40,
)


def build(shape: Shape, salt: str) -> tuple[History, list[CommitRow]]:
    history, rows = History(salt), list[CommitRow]()
    for number, choices in enumerate(shape):
        parents = dict.fromkeys(choice % number for choice in choices) if number else {}
        rows.append(history.add(str(number), *(rows[parent] for parent in parents)))
    return history, rows


def first_parents(history: History, row: CommitRow) -> Iterator[CommitId]:
    """Yield the commit and its first parents down to the root."""
    yield row.id
    while row.parents:
        row = history.rows[row.parents[0]]
        yield row.id


def ancestry(history: History, starts: Collection[CommitRow], depth: int) -> dict[CommitId, Node]:
    """Model of the port's words: add parents of what is near enough, until nothing changes."""
    top = max(row.generation for row in starts)
    found = {row.id for row in starts}
    while True:
        near = [history.rows[item] for item in found if history.rows[item].generation > top - depth]
        grown = found.union(*(row.parents for row in near))
        if grown == found:
            rows = [history.rows[item] for item in found]
            return {row.id: Node(row.id, row.parents, row.generation, row.time) for row in rows}
        found = grown


@pytest.fixture
def names() -> Iterator[str]:
    return (f"team/r{number}" for number in itertools.count())


def store(
    database: Database, names: Iterator[str], shape: Shape
) -> tuple[RepositoryId, History, list[CommitRow]]:
    """Store a history in a repository of its own, since examples share the database."""
    name = next(names)
    history, rows = build(shape, salt=name)
    repository = make_repository(database, name)
    store_commits(database, repository, rows)
    return repository, history, rows


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(shape=st.one_of(SHAPES, DEEP_SHAPES))
def test_every_ancestor_is_found_by_first_parents(
    database: Database, names: Iterator[str], shape: Shape
) -> None:
    _, history, rows = store(database, names, shape)
    row = rows[-1]
    with database.read() as records:
        for steps, expected in enumerate(first_parents(history, row)):
            assert records.commits.find_ancestor(row.id, steps) == expected
        assert records.commits.find_ancestor(row.id, row.depth + 1) is None


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.one_of(SHAPES, DEEP_SHAPES),
    choices=st.lists(st.integers(0, 1_000), min_size=1, max_size=4),
    depth=st.integers(0, 12),
)
def test_ancestry_is_what_the_port_says(
    database: Database, names: Iterator[str], shape: Shape, choices: list[int], depth: int
) -> None:
    repository, history, rows = store(database, names, shape)
    starts = list({choice % len(rows): rows[choice % len(rows)] for choice in choices}.values())
    with database.read() as records:
        found = records.commits.load_ancestry(repository, [row.id for row in starts], depth)
    assert found == ancestry(history, starts, depth)


@pytest.fixture
def long_history(database: Database) -> tuple[RepositoryId, History, list[CommitRow]]:
    """About 3,900 commits: a line of 3,000 with a side branch at every tenth."""
    history = History()
    line = history.with_merges(3_000)
    repository = make_repository(database)
    store_commits(database, repository, history.rows.values())
    return repository, history, line


def test_ancestors_are_right_in_a_long_history(
    database: Database, long_history: tuple[RepositoryId, History, list[CommitRow]]
) -> None:
    _, history, line = long_history
    chain = list(first_parents(history, line[-1]))
    assert len(chain) == 3_000
    with database.read() as records:
        for steps in [*range(0, 3_000, 83), 1, 2, 3, 500, 2_998, 2_999]:
            assert records.commits.find_ancestor(line[-1].id, steps) == chain[steps]
        assert records.commits.find_ancestor(line[-1].id, 3_000) is None


def test_ancestry_is_right_in_a_long_history(
    database: Database, long_history: tuple[RepositoryId, History, list[CommitRow]]
) -> None:
    repository, history, line = long_history
    for starts in ([line[-1]], [line[2_000], line[1_990], line[5]]):
        with database.read() as records:
            found = records.commits.load_ancestry(repository, [row.id for row in starts], 64)
        assert found == ancestry(history, starts, 64)
        assert 64 < len(found) < 200
