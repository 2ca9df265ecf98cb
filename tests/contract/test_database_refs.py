"""Branches and tags, over every database."""

import pytest

from database_suite.rows import (
    NOW,
    History,
    branch,
    insert_commits,
    make_repository,
    new_repository,
    store_commits,
    tag,
)
from plait.errors import AlreadyExists, Conflict, Internal, NotFound
from plait.model.address import RepositoryName
from plait.model.refs import Ref, RefKind, RefName, RefUpdate
from plait_registry.domain.ports import Database
from plait_registry.domain.records import CommitRow, RepositoryId

MAIN = RefName("main")
V1 = RefName("v1")


@pytest.fixture
def repository(database: Database) -> RepositoryId:
    return make_repository(database)


@pytest.fixture
def commits(database: Database, repository: RepositoryId) -> list[CommitRow]:
    """Three commits in a line, in the repository."""
    rows = History().chain(3)
    store_commits(database, repository, rows)
    return rows


def apply(database: Database, repository: RepositoryId, *updates: RefUpdate) -> None:
    with database.write() as records:
        for update in updates:
            records.refs.compare_and_set(repository, update)


def find(database: Database, repository: RepositoryId, name: str) -> Ref | None:
    with database.read() as records:
        return records.refs.find(repository, RefName(name))


def test_new_branch_points_where_it_was_told(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    apply(database, repository, branch("main", None, commits[0]))
    assert find(database, repository, "main") == Ref(RefKind.BRANCH, MAIN, commits[0].id)
    assert find(database, repository, "Main") is None


def test_branch_moves_from_where_it_was_expected(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    apply(
        database,
        repository,
        branch("main", None, commits[0]),
        branch("main", commits[0], commits[2]),
        branch("main", commits[2], commits[1]),
    )
    assert find(database, repository, "main") == Ref(RefKind.BRANCH, MAIN, commits[1].id)


@pytest.mark.parametrize("expected", [None, 1], ids=["new", "elsewhere"])
def test_update_of_moved_branch_reports_conflict_with_both_commits(
    database: Database,
    repository: RepositoryId,
    commits: list[CommitRow],
    expected: int | None,
) -> None:
    apply(database, repository, branch("main", None, commits[0]))
    seen = None if expected is None else commits[expected]
    with pytest.raises(Conflict) as caught:
        apply(database, repository, branch("main", seen, commits[2]))
    assert caught.value.kind == "ref-update-conflict"
    assert caught.value.details["expected"] == (None if seen is None else seen.id)
    assert caught.value.details["actual"] == commits[0].id
    assert find(database, repository, "main") == Ref(RefKind.BRANCH, MAIN, commits[0].id)


def test_update_of_branch_that_is_gone_reports_conflict(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    with pytest.raises(Conflict) as caught:
        apply(database, repository, branch("main", commits[0], commits[1]))
    assert caught.value.kind == "ref-update-conflict"
    assert caught.value.details["actual"] is None


@pytest.mark.parametrize("expected", [None, 0, 1, 2])
def test_update_to_where_the_branch_is_already_does_nothing(
    database: Database,
    repository: RepositoryId,
    commits: list[CommitRow],
    expected: int | None,
) -> None:
    apply(database, repository, branch("main", None, commits[2]))
    seen = None if expected is None else commits[expected]
    apply(database, repository, branch("main", seen, commits[2]))
    assert find(database, repository, "main") == Ref(RefKind.BRANCH, MAIN, commits[2].id)


def test_tag_never_moves_but_may_be_made_again_at_its_place(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    apply(database, repository, tag("v1", commits[0]), tag("v1", commits[0]))
    for seen in (None, commits[0]):
        with pytest.raises(AlreadyExists) as caught:
            apply(database, repository, branch("v1", seen, commits[1], RefKind.TAG))
        assert caught.value.kind == "ref-exists"
    assert find(database, repository, "v1") == Ref(RefKind.TAG, V1, commits[0].id)


def test_branch_and_tag_cannot_share_a_name(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    apply(database, repository, tag("v1", commits[0]), branch("main", None, commits[0]))
    for update in (branch("v1", commits[0], commits[0]), tag("main", commits[0])):
        with pytest.raises(AlreadyExists) as caught:
            apply(database, repository, update)
        assert caught.value.kind == "ref-exists"


def test_name_of_deleted_tag_is_retired_for_tags_and_branches(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    apply(database, repository, tag("v1", commits[0]))
    with database.write() as records:
        records.refs.delete(repository, V1, commits[0].id)
    assert find(database, repository, "v1") is None
    for update in (
        tag("v1", commits[0]),
        branch("v1", None, commits[1]),
        branch("v1", commits[0], commits[1]),
    ):
        with pytest.raises(Conflict) as caught:
            apply(database, repository, update)
        assert caught.value.kind == "tag-name-retired"


def test_name_of_deleted_branch_is_free_again(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    apply(database, repository, branch("topic", None, commits[0]))
    with database.write() as records:
        records.refs.delete(repository, RefName("topic"), commits[0].id)
    apply(database, repository, tag("topic", commits[1]))
    assert find(database, repository, "topic") == Ref(RefKind.TAG, RefName("topic"), commits[1].id)


def test_deleting_a_moved_ref_reports_conflict(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    apply(database, repository, branch("main", None, commits[0]))
    with pytest.raises(Conflict) as caught, database.write() as records:
        records.refs.delete(repository, MAIN, commits[1].id)
    assert caught.value.kind == "ref-update-conflict"
    assert caught.value.details["expected"] == commits[1].id
    assert caught.value.details["actual"] == commits[0].id
    assert find(database, repository, "main") is not None


def test_deleting_what_is_not_there_is_not_found(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    with pytest.raises(NotFound) as caught, database.write() as records:
        records.refs.delete(repository, MAIN, commits[0].id)
    assert caught.value.kind == "ref-not-found"


def test_list_is_sorted_by_kind_and_name_and_of_one_repository(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    other = make_repository(database, "team/other")
    store_commits(database, other, commits)
    apply(database, other, branch("elsewhere", None, commits[0]))
    for name in ("b", "a/b", "a-b", "Z"):
        apply(database, repository, branch(name, None, commits[0]))
    apply(database, repository, tag("0", commits[1]))
    with database.read() as records:
        listed = [(ref.kind.value, ref.name) for ref in records.refs.list(repository)]
    assert listed == [
        ("branch", "Z"),
        ("branch", "a-b"),
        ("branch", "a/b"),
        ("branch", "b"),
        ("tag", "0"),
    ]


def test_retired_name_is_free_in_other_repositories(
    database: Database, repository: RepositoryId, commits: list[CommitRow]
) -> None:
    other = make_repository(database, "team/other")
    store_commits(database, other, commits)
    apply(database, repository, tag("v1", commits[0]))
    with database.write() as records:
        records.refs.delete(repository, V1, commits[0].id)
    apply(database, other, tag("v1", commits[0]))
    assert find(database, other, "v1") is not None


def test_ref_to_commit_of_another_repository_is_refused(
    database: Database, repository: RepositoryId
) -> None:
    commit = History("other").add("first")
    with database.write() as records:
        other = records.repositories.insert(
            new_repository(RepositoryName("team", "other"), "", NOW)
        ).id
        insert_commits(records, other, [commit])
    with pytest.raises(Internal):
        apply(database, repository, branch("main", None, commit))
