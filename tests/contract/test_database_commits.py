"""Commits and notes, over every database."""

import pytest

from database_suite.rows import MANIFEST, History, make_repository, note, store_commits
from plait.errors import Internal
from plait.model.commit_graph import Node
from plait.model.ids import CommitId
from plait_registry.domain.ports import Database
from plait_registry.domain.records import CommitRow, RepositoryId

NOWHERE = CommitId("0" * 64)


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    return make_repository(database)


def node(row: CommitRow) -> Node:
    return Node(row.id, row.parents, row.generation, row.time)


def test_commits_come_back_as_they_were(database: Database, repository: RepositoryId) -> None:
    history = History()
    root, other = history.add("root"), history.add("other")
    left = history.add("left", root)
    merge = history.add("merge", left, other, root)
    rows = [root, other, left, merge]
    store_commits(database, repository, rows)
    with database.read() as records:
        found = records.commits.load(repository, [row.id for row in rows] + [NOWHERE])
    assert found == {row.id: row for row in rows}


def test_commit_without_adapter_type_keeps_none(
    database: Database, repository: RepositoryId
) -> None:
    row = CommitRow(NOWHERE, b"", MANIFEST, (), 1, 0, None, "", None, "", 2**40)
    store_commits(database, repository, [row])
    with database.read() as records:
        assert records.commits.load(repository, [row.id]) == {row.id: row}


def test_commit_that_is_there_stays_as_it_is(database: Database, repository: RepositoryId) -> None:
    history = History()
    root = history.add("root")
    child = history.add("child", root)
    store_commits(database, repository, [root])
    store_commits(database, repository, [root, child, child])
    with database.read() as records:
        assert records.commits.load(repository, [root.id, child.id]) == {
            root.id: root,
            child.id: child,
        }


def test_repository_sees_only_its_own_commits(database: Database, repository: RepositoryId) -> None:
    other = make_repository(database, "team/other")
    shared, mine = History().chain(2)
    store_commits(database, repository, [shared, mine])
    store_commits(database, other, [shared])
    with database.read() as records:
        assert set(records.commits.load(other, [shared.id, mine.id])) == {shared.id}
        assert set(records.commits.load_ancestry(other, [shared.id, mine.id], 9)) == {shared.id}
        assert list(records.commits.find_by_prefix(other, mine.id[:9])) == []
        assert list(records.commits.find_by_prefix(other, shared.id[:9])) == [shared.id]


def test_commit_on_unknown_parent_or_manifest_is_refused(
    database: Database, repository: RepositoryId
) -> None:
    _, orphan = History().chain(2)
    with pytest.raises(Internal):
        store_commits(database, repository, [orphan])
    with pytest.raises(Internal), database.write() as records:
        records.commits.insert(repository, [History().add("root")])


def test_loading_nothing_returns_nothing(database: Database, repository: RepositoryId) -> None:
    with database.read() as records:
        assert records.commits.load(repository, []) == {}
        assert records.commits.load_ancestry(repository, [], 5) == {}
        assert records.commits.load_ancestry(repository, [NOWHERE], 5) == {}
        assert records.commits.load_notes(repository, []) == {}


def test_prefix_finds_up_to_two_commits(database: Database, repository: RepositoryId) -> None:
    rows = History().chain(40)
    store_commits(database, repository, rows)
    ids = sorted(row.id for row in rows)
    with database.read() as records:
        for row in rows:
            for length in (1, 2, 7, 63, 64):
                matches = [commit for commit in ids if commit.startswith(row.id[:length])]
                found = records.commits.find_by_prefix(repository, row.id[:length])
                assert list(found) == matches[:2]
        assert list(records.commits.find_by_prefix(repository, "f" * 64)) == []
        assert list(records.commits.find_by_prefix(repository, "0" * 64)) == []


def test_ancestry_goes_as_many_generations_back_as_asked(
    database: Database, repository: RepositoryId
) -> None:
    rows = History().chain(10)
    store_commits(database, repository, rows)
    with database.read() as records:
        for depth in (0, 1, 4, 9, 50):
            found = records.commits.load_ancestry(repository, [rows[-1].id], depth)
            assert found == {row.id: node(row) for row in rows[max(9 - depth, 0) :]}


def test_ancestry_includes_all_parents_of_an_octopus_in_order(
    database: Database, repository: RepositoryId
) -> None:
    history = History()
    roots = [history.add(f"root {number}") for number in range(12)]
    merge = history.add("merge", *roots)
    store_commits(database, repository, [*roots, merge])
    with database.read() as records:
        found = records.commits.load_ancestry(repository, [merge.id], 1)
        assert found[merge.id].parents == tuple(root.id for root in roots)
        assert set(found) == {merge.id, *(root.id for root in roots)}
        assert set(records.commits.load_ancestry(repository, [merge.id], 0)) == {merge.id}


def test_ancestor_of_unknown_commit_is_none(database: Database, repository: RepositoryId) -> None:
    (root,) = History().chain(1)
    store_commits(database, repository, [root])
    with database.read() as records:
        assert records.commits.find_ancestor(NOWHERE, 0) is None
        assert records.commits.find_ancestor(root.id, 0) == root.id
        assert records.commits.find_ancestor(root.id, 1) is None


def test_notes_come_back_oldest_first_whatever_their_time_says(
    database: Database, repository: RepositoryId
) -> None:
    first, second = History().chain(2)
    store_commits(database, repository, [first, second])
    written = [
        note(second, "b", "2026-11-24T00:00:02Z"),
        note(first, "x"),
        note(second, "a", "2026-11-24T00:00:01Z"),
        note(second, "b", "2026-11-24T00:00:02Z"),
    ]
    with database.write() as records:
        records.commits.insert_notes(repository, written[:2])
    with database.write() as records:
        records.commits.insert_notes(repository, written[2:])
        records.commits.insert_notes(repository, [])
    with database.read() as records:
        found = records.commits.load_notes(repository, [first.id, second.id, NOWHERE])
    assert {key: list(notes) for key, notes in found.items()} == {
        first.id: [written[1]],
        second.id: [written[0], written[2], written[3]],
    }


def test_notes_belong_to_one_repository(database: Database, repository: RepositoryId) -> None:
    other = make_repository(database, "team/other")
    commit = History().add("root")
    for holder in (repository, other):
        store_commits(database, holder, [commit])
    with database.write() as records:
        records.commits.insert_notes(repository, [note(commit, "mine")])
        assert records.commits.load_notes(other, [commit.id]) == {}


def test_note_on_commit_of_another_repository_is_refused(
    database: Database, repository: RepositoryId
) -> None:
    other = make_repository(database, "team/other")
    commit = History().add("root")
    store_commits(database, other, [commit])
    with pytest.raises(Internal), database.write() as records:
        records.commits.insert_notes(repository, [note(commit, "stray")])
