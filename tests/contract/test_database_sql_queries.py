"""How SQL answers: with indexes, and with as many queries for a long history as for a short one."""

import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from types import ModuleType

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import postgresql

from database_suite.hot_queries import (
    HOT,
    REPOSITORY,
    TENSORS,
    fill,
    recorded,
)
from database_suite.rows import (
    ALL,
    History,
    make_repository,
    store_commits,
)
from plait.model.address import RepositoryName
from plait.model.commit_graph import Walk, find_merge_bases
from plait.model.ids import CommitId
from plait_registry.adapters.sql import ancestry, commits, files, refs, repositories
from plait_registry.adapters.sql.database import SqlDatabase, SqlRecords
from plait_registry.adapters.sql.dialect import batches
from plait_registry.domain.ports import Records
from plait_registry.domain.records import (
    RepositoryQuery,
)
from plait_registry.services.commit_source import RecordsSource


@pytest.fixture
def filled(sqlite: SqlDatabase) -> SqlDatabase:
    fill(sqlite)
    return sqlite


# What these scan is the result of another part of the same query, not a table.
INTERMEDIATE = {"start", "walk", "chosen", "CONSTANT"}


@pytest.mark.parametrize("name", HOT)
def test_hot_query_finds_its_rows_by_index(filled: SqlDatabase, name: str) -> None:
    with recorded(filled) as queries, filled.read() as records:
        assert HOT[name](records) is not None
    assert queries
    with closing(sqlite3.connect(filled._engine.url.database or "")) as connection:
        plan = [
            row[3]
            for query, parameters in queries
            for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters)
        ]
    scans = [line for line in plan if line.startswith("SCAN")]
    assert [line for line in scans if line.split()[1] not in INTERMEDIATE] == []
    assert any(line.startswith("SEARCH") for line in plan)
    if name not in ("list refs", "count refs"):
        # All that a repository has is as bad as all that a table has.
        assert [line for line in plan if "(repository_id=?)" in line] == []


@pytest.mark.parametrize(
    ("name", "most"),
    [("load commits", 1), ("load ancestry", 1), ("find ancestor", 1), ("load notes", 1)],
)
def test_history_is_asked_for_in_one_query(filled: SqlDatabase, name: str, most: int) -> None:
    with recorded(filled) as queries, filled.read() as records:
        HOT[name](records)
    assert len(queries) == most


def test_all_tensors_of_a_file_are_located_in_two_queries(filled: SqlDatabase) -> None:
    with recorded(filled) as queries, filled.read() as records:
        assert len(records.files.locate_tensors(ALL, TENSORS)) == len(TENSORS)
    assert len(queries) == 2


def count_queries(database: SqlDatabase, line: list[CommitId], name: str) -> tuple[int, ...]:
    """Count the queries of a page of the log, of `main~50` and of a merge base."""
    counts = []
    with database.read() as records:
        repository = records.repositories.get(RepositoryName.parse(name))
        with recorded(database) as queries:
            log_source = RecordsSource(records, repository, depth=100)
            page = [node.id for node in islice(Walk(log_source, [line[-1]]), 100)]
            rows = records.commits.load(repository.id, page)
            records.commits.load_notes(repository.id, page)
        assert len(rows) == 100
        counts.append(len(queries))
        source = RecordsSource(records, repository)
        with recorded(database) as queries:
            assert source.find_ancestor(line[-1], 50) is not None
        counts.append(len(queries))
        with recorded(database) as queries:
            assert find_merge_bases(source, line[-1], line[-60]) == [line[-60]]
        counts.append(len(queries))
    return tuple(counts)


def test_number_of_queries_does_not_grow_with_history(sqlite: SqlDatabase) -> None:
    counts = []
    for length in (200, 3_000):
        history = History(str(length))
        line = history.with_merges(length)
        name = f"team/of-{length}"
        store_commits(sqlite, make_repository(sqlite, name), history.rows.values())
        counts.append(count_queries(sqlite, [row.id for row in line], name))
    assert counts[0] == counts[1]
    log, ancestor, merge_base = counts[1]
    assert log <= 4
    assert ancestor == 1
    assert merge_base <= 3


def count_instructions(database: SqlDatabase, question: Callable[[Records], object]) -> int:
    """Count, by hundreds, the steps of SQLite's virtual machine."""
    ticks = itertools.count()
    with database._engine.connect() as connection, connection.begin():
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(lambda: next(ticks) < 0, 100)
        question(SqlRecords(connection))
        driver.set_progress_handler(None, 0)
    return next(ticks)


def find_ancestor(commit: CommitId, steps: int, records: Records) -> CommitId | None:
    return records.commits.find_ancestor(commit, steps)


def test_far_ancestor_is_a_handful_of_jumps_away(sqlite: SqlDatabase) -> None:
    line = History().chain(3_000)
    store_commits(sqlite, make_repository(sqlite), line)
    tip, most = line[-1].id, 20
    for steps in (1, 500, 1_475, 2_047, 2_999):
        assert count_instructions(sqlite, partial(find_ancestor, tip, steps)) < most
    # The same measure sees a walk of three thousand steps.
    whole = count_instructions(sqlite, lambda r: r.commits.load_ancestry(REPOSITORY, [tip], 3_000))
    assert whole > 20 * most


def test_page_of_repositories_walks_the_key_and_stops(filled: SqlDatabase) -> None:
    with recorded(filled) as queries, filled.read() as records:
        records.repositories.search(RepositoryQuery(ALL, namespace="team", after="team/a"))
    ((query, parameters),) = queries
    with closing(sqlite3.connect(filled._engine.url.database or "")) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]
    assert plan[0].startswith("SEARCH repositories USING INDEX")
    assert not any("TEMP B-TREE" in line for line in plan)


@pytest.mark.parametrize("module", [ancestry, commits, files, refs, repositories])
def test_queries_can_be_written_for_postgresql(module: ModuleType) -> None:
    statements = [value for value in vars(module).values() if isinstance(value, Select)]
    assert statements
    for statement in statements:
        assert "SELECT" in str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_batches_hold_everything_once_and_are_not_too_long() -> None:
    assert list(batches([])) == []
    parts = list(batches(range(12_345)))
    assert [item for part in parts for item in part] == list(range(12_345))
    assert [len(part) for part in parts] == [5_000, 5_000, 2_345]
