"""Two people who share a repository through working copies, over a real server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person
from copies.workshop import WEIGHTS, read_tree, weight_bytes


@pytest.fixture
def name(registry_server: Any, repository_name: Callable[[], str], tmp_path: Path) -> str:
    name = repository_name()
    make_person(registry_server, tmp_path / "owner").run("repo", "create", name)
    return name


@pytest.fixture
def ada(registry_server: Any, tmp_path: Path, name: str) -> Person:
    """Somebody whose working copy has one version, which is pushed."""
    person = make_person(registry_server, tmp_path / "ada")
    person.run("init", "--remote", name)
    person.commit(1)
    person.run("push")
    return person


@pytest.fixture
def bob(registry_server: Any, tmp_path: Path, name: str, ada: Person) -> Person:
    """Somebody who cloned that."""
    person = make_person(registry_server, tmp_path / "bob")
    person.folder.rmdir()
    person.at(tmp_path).run("clone", name, "bob")
    return person


def test_clone_has_the_files_and_the_history(ada: Person, bob: Person) -> None:
    assert read_tree(bob.folder) == read_tree(ada.folder)
    assert bob.ask("log")["commits"][0]["id"] == ada.head()
    assert "up to date with origin/main" in bob.run("status")


def test_clone_can_check_out_a_tag_or_another_branch(
    ada: Person, name: str, tmp_path: Path
) -> None:
    first = ada.head()
    ada.run("tag", "v1")
    ada.run("switch", "-c", "fix")
    second = ada.commit(2)
    ada.run("push", "--all", "--tags")
    elsewhere = ada.at(tmp_path)
    at_tag = elsewhere.ask("clone", name, "at-tag", "-b", "v1")
    assert (at_tag["branch"], at_tag["commit"], at_tag["tags"]) == (None, first, 1)
    at_branch = elsewhere.ask("clone", name, "at-branch", "-b", "fix")
    assert (at_branch["branch"], at_branch["commit"], at_branch["branches"]) == ("fix", second, 2)
    assert "'gone'" in elsewhere.fail("clone", name, "x", "-b", "gone")


def test_clone_into_a_folder_that_holds_something_is_refused(
    ada: Person, name: str, tmp_path: Path
) -> None:
    assert "not empty" in ada.at(tmp_path).fail("clone", name, "ada")


def test_clone_of_an_empty_repository_can_be_pushed_to(
    registry_server: Any, name: str, tmp_path: Path
) -> None:
    person = make_person(registry_server, tmp_path / "carl")
    person.run("clone", name, "copy")
    inside = Person(person.folder / "copy", PLAIT_TOKEN=registry_server.token)
    commit = inside.commit(1)
    assert inside.ask("push")["refs"][0]["new"] == commit


def test_fetch_tells_what_is_new_and_changes_no_file(ada: Person, bob: Person) -> None:
    old = bob.head()
    new = ada.commit(2)
    ada.run("tag", "v2")
    ada.run("push", "main", "v2")
    before = read_tree(bob.folder)
    fetched = bob.ask("fetch")
    assert fetched["commits"] == 1
    assert [(ref["kind"], ref["name"], ref["change"]) for ref in fetched["refs"]] == [
        ("branch", "main", "moved"),
        ("tag", "v2", "new"),
    ]
    assert (fetched["refs"][0]["old"], fetched["refs"][0]["new"]) == (old, new)
    assert read_tree(bob.folder) == before
    assert "behind origin/main by 1 commit" in bob.run("status")
    assert bob.ask("log", "origin/main")["commits"][0]["id"] == new
    assert bob.ask("fetch") == {"commits": 0, "bytes_received": 0, "refs": []}


def test_contents_that_went_missing_are_fetched_again(ada: Person, bob: Person) -> None:
    for path in (bob.folder / ".plait" / "objects").rglob("*"):
        if path.is_file() and path.stat().st_size == len(weight_bytes(1)):
            path.unlink()
    (bob.folder / WEIGHTS).unlink()
    assert "fetch --repair" in bob.fail("switch", "--discard-changes", "main")
    assert bob.ask("fetch", "--repair")["bytes_received"] == len(weight_bytes(1))
    bob.run("switch", "--discard-changes", "main")
    assert read_tree(bob.folder) == read_tree(ada.folder)


def test_pull_fast_forwards_the_branch_and_the_folder(ada: Person, bob: Person) -> None:
    new = ada.commit(2)
    ada.run("push")
    pulled = bob.ask("pull")
    assert (pulled["outcome"], pulled["new"]) == ("fast-forward", new)
    assert read_tree(bob.folder) == read_tree(ada.folder)
    assert bob.ask("pull")["outcome"] == "up-to-date"


def test_pull_over_uncommitted_changes_is_refused_until_told(ada: Person, bob: Person) -> None:
    ada.commit(2)
    ada.run("push")
    bob.train(9)
    assert WEIGHTS in bob.fail("pull")
    assert (bob.folder / WEIGHTS).read_bytes() == weight_bytes(9)
    assert "1 commit" in bob.run("status")
    bob.run("pull", "--discard-changes")
    assert read_tree(bob.folder) == read_tree(ada.folder)


def test_diverged_branches_are_told_and_joined_by_a_merge(ada: Person, bob: Person) -> None:
    ada.commit(2)
    ada.run("push")
    bob.note("README.md", "notes of bob")
    error = bob.type("pull", "--json")
    assert error.status == 1
    details = error.facts()["error"]
    assert details["kind"] == "diverged"
    assert (details["details"]["ahead"], details["details"]["behind"]) == (1, 1)
    assert "pull --merge" in error.err
    merged = bob.ask("pull", "--merge")
    assert merged["outcome"] == "merged"
    assert (bob.folder / WEIGHTS).read_bytes() == weight_bytes(2)
    assert (bob.folder / "README.md").read_text() == "notes of bob"
    (commit, *_) = bob.ask("log")["commits"]
    assert len(commit["commit"]["parents"]) == 2
    bob.run("push")
    assert ada.ask("pull")["new"] == merged["new"]
    assert read_tree(ada.folder) == read_tree(bob.folder)


@pytest.mark.parametrize(("side", "value"), [("--ours", 3), ("--theirs", 2)])
def test_merge_of_the_same_file_needs_a_side(
    ada: Person, bob: Person, side: str, value: int
) -> None:
    ada.commit(2)
    ada.run("push")
    mine = bob.commit(3)
    assert WEIGHTS in bob.fail("pull", "--merge")
    assert bob.head() == mine
    assert bob.ask("status")["clean"]
    bob.run("pull", "--merge", side)
    assert (bob.folder / WEIGHTS).read_bytes() == weight_bytes(value)
    bob.run("push")


def test_push_of_a_branch_that_moved_is_refused_and_force_needs_a_look(
    ada: Person, bob: Person
) -> None:
    theirs = ada.commit(2)
    ada.run("push")
    mine = bob.commit(3)
    error = bob.type("push", "--json")
    assert error.facts()["error"]["kind"] == "ref-update-conflict"
    # Not even by force, before what it would throw away was seen.
    assert bob.type("push", "--force", "--json").facts()["error"]["kind"] == "ref-update-conflict"
    bob.run("fetch")
    refused = bob.type("push", "--json").facts()["error"]
    assert refused["kind"] == "ref-not-fast-forward"
    pushed = bob.ask("push", "--force")["refs"]
    assert [(ref["old"], ref["new"], ref["forced"]) for ref in pushed] == [(theirs, mine, True)]
    assert ada.ask("fetch")["refs"][0]["change"] == "forced"


def test_push_of_everything_sends_branches_and_tags_once(ada: Person, bob: Person) -> None:
    ada.run("tag", "v1")
    ada.run("switch", "-c", "fix")
    ada.commit(2)
    pushed = ada.ask("push", "--all", "--tags")["refs"]
    assert [(ref["kind"], ref["name"]) for ref in pushed] == [("branch", "fix"), ("tag", "v1")]
    assert ada.ask("push", "--all", "--tags")["refs"] == []
    assert ada.run("push", "--all") == "Everything is up to date\n"
    bob.run("fetch")
    assert {tag["name"] for tag in bob.ask("tag")["tags"]} == {"v1"}
    assert {item["name"] for item in bob.ask("branch", "-a")["remote"]} == {"main", "fix"}
    bob.run("switch", "fix")
    assert read_tree(bob.folder) == read_tree(ada.folder)


def test_branch_that_is_gone_on_the_remote_is_forgotten(
    ada: Person, bob: Person, name: str
) -> None:
    ada.run("switch", "-c", "fix")
    ada.commit(2)
    ada.run("push")
    bob.run("fetch")
    ada.run("branch", "-d", name, "fix")
    assert [(ref["name"], ref["change"]) for ref in bob.ask("fetch")["refs"]] == [("fix", "gone")]
    assert [item["name"] for item in bob.ask("branch", "-a")["remote"]] == ["main"]


def test_pull_completes_what_the_branch_of_an_empty_copy_lacks(
    registry_server: Any, ada: Person, name: str, tmp_path: Path
) -> None:
    carl = make_person(registry_server, tmp_path / "carl")
    carl.run("init", "--remote", name)
    assert carl.ask("pull")["old"] is None
    assert read_tree(carl.folder) == read_tree(ada.folder)


def test_copy_without_a_remote_says_how_to_name_one(registry_server: Any, tmp_path: Path) -> None:
    carl = make_person(registry_server, tmp_path / "carl")
    carl.run("init")
    for verb in ("push", "pull", "fetch"):
        carl.train(1)
        assert "--remote" in carl.fail(verb, status=2)


def test_registry_that_is_away_leaves_offline_work_possible(ada: Person, tmp_path: Path) -> None:
    config = ada.folder / ".plait" / "config.json"
    there = config.read_text()
    config.write_text(_with_port(there, 9))
    assert "127.0.0.1:9" in ada.fail("fetch")
    ada.commit(2)
    config.write_text(there)
    assert len(ada.ask("push")["refs"]) == 1


def _with_port(config: str, port: int) -> str:
    before, _, rest = config.partition("127.0.0.1:")
    return f"{before}127.0.0.1:{port}{rest.lstrip('0123456789')}"
