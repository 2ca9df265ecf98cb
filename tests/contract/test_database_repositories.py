"""The table of repositories, over every database."""

import pytest

from database_suite.rows import (
    ALL,
    NOW,
    History,
    branch,
    make_repository,
    new_repository,
    store_commits,
    tag,
)
from plait.errors import AlreadyExists, NotFound
from plait.model.address import RepositoryName
from plait_registry.domain.ports import Database
from plait_registry.domain.records import RepositoryQuery


def names(database: Database, **query: object) -> list[str]:
    with database.read() as records:
        found = records.repositories.search(RepositoryQuery(ALL, **query))  # type: ignore[arg-type]
    return [str(record.name) for record in found]


def add(database: Database, name: str, description: str = "") -> None:
    with database.write() as records:
        records.repositories.insert(new_repository(RepositoryName.parse(name), description, NOW))


def test_new_repository_is_empty_and_points_nowhere(database: Database) -> None:
    with database.write() as records:
        made = records.repositories.insert(
            new_repository(RepositoryName("Team", "SQL"), "for queries", NOW)
        )
    assert (made.name, made.description) == (RepositoryName("Team", "SQL"), "for queries")
    assert (made.default_branch, made.created_at) == ("main", NOW)
    assert (made.head, made.adapter_type, made.base) == (None, None, None)
    with database.read() as records:
        assert records.repositories.get(RepositoryName("Team", "SQL")) == made


def test_name_is_found_in_any_case_and_kept_as_it_was_written(database: Database) -> None:
    add(database, "Team/SQL")
    with database.read() as records:
        assert str(records.repositories.get(RepositoryName("tEAM", "sql")).name) == "Team/SQL"


def test_name_that_differs_only_in_case_is_taken(database: Database) -> None:
    add(database, "Team/SQL")
    with pytest.raises(AlreadyExists) as caught, database.write() as records:
        records.repositories.insert(new_repository(RepositoryName("team", "sql"), "", NOW))
    assert caught.value.kind == "repository-exists"
    assert caught.value.details == {"repository": "Team/SQL"}


def test_unknown_name_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound) as caught, database.read() as records:
        records.repositories.get(RepositoryName("team", "sql"))
    assert caught.value.kind == "repository-not-found"


def test_repositories_have_ids_of_their_own(database: Database) -> None:
    assert make_repository(database, "a/a") != make_repository(database, "a/b")


def test_head_type_and_base_are_those_of_the_default_branch(database: Database) -> None:
    repository, commit = make_repository(database), History().add("first")
    store_commits(database, repository, [commit])
    with database.write() as records:
        records.refs.compare_and_set(repository, branch("other", None, commit))
        assert records.repositories.get(RepositoryName("team", "sql")).head is None
        records.refs.compare_and_set(repository, branch("main", None, commit))
        record = records.repositories.get(RepositoryName("team", "sql"))
    assert (record.head, record.adapter_type, record.base) == (commit.id, "LORA", "org/model")


def test_tag_that_is_called_like_the_default_branch_is_no_head(database: Database) -> None:
    repository, commit = make_repository(database), History().add("first")
    store_commits(database, repository, [commit])
    with database.write() as records:
        records.refs.compare_and_set(repository, tag("main", commit))
        assert records.repositories.get(RepositoryName("team", "sql")).head is None


def test_search_for_nothing_lists_everything_by_key(database: Database) -> None:
    for name in ("b/x", "A/z", "a/y", "a-b/x", "a_b/x"):
        add(database, name)
    assert names(database) == ["a-b/x", "a/y", "A/z", "a_b/x", "b/x"]


def test_search_pages_by_the_last_key(database: Database) -> None:
    for name in ("a/x", "B/y", "c/z"):
        add(database, name)
    assert names(database, limit=2) == ["a/x", "B/y"]
    assert names(database, limit=2, after="b/y") == ["c/z"]
    assert names(database, after="c/z") == []


def test_search_finds_a_part_of_name_or_description_in_any_case(database: Database) -> None:
    add(database, "team/SQL-writer", "Über queries")
    add(database, "team/prose", "speaks of nothing")
    assert names(database, text="sql-W") == ["team/SQL-writer"]
    assert names(database, text="TEAM/p") == ["team/prose"]
    assert names(database, text="über Q") == ["team/SQL-writer"]
    assert names(database, text="ÜBER") == ["team/SQL-writer"]
    assert names(database, text="nowhere") == []


@pytest.mark.parametrize("text", ["%", "_", "/", "\\", "100%", "a_c", "'", '"'])
def test_search_takes_every_character_literally(database: Database, text: str) -> None:
    add(database, "x/plain", "abc 1000")
    add(database, "x/special", f"before{text}after")
    expected = ["x/plain", "x/special"] if text == "/" else ["x/special"]
    assert names(database, text=text) == expected


def test_search_by_namespace_wants_all_of_it_in_any_case(database: Database) -> None:
    for name in ("Team/a", "team/b", "team-two/c", "tea/d", "teamwork/e"):
        add(database, name)
    assert names(database, namespace="TEAM") == ["Team/a", "team/b"]


def test_search_by_base_and_type_looks_at_the_head_exactly(database: Database) -> None:
    commit = History().add("first")
    for name in ("a/with", "a/without"):
        store_commits(database, make_repository(database, name), [commit])
    with database.write() as records:
        repository = records.repositories.get(RepositoryName("a", "with")).id
        records.refs.compare_and_set(repository, branch("main", None, commit))
    assert names(database, base="org/model") == ["a/with"]
    assert names(database, adapter_type="LORA", base="org/model") == ["a/with"]
    assert names(database, base="org/mode") == []
    assert names(database, adapter_type="lora") == []
