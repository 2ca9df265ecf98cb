"""Names that could mean two things: a branch or a tag, a branch of here or a repository."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person


@pytest.fixture
def name(repository_name: Callable[[], str]) -> str:
    return repository_name()


@pytest.fixture
def ada(registry_server: Any, tmp_path: Path, name: str) -> Person:
    """Somebody who pushed a version, with a tag and a second branch of the repository."""
    person = make_person(registry_server, tmp_path / "ada")
    person.train(1)
    person.run("push", ".", name, "-m", "first", "--create")
    person.run("tag", name, "v1")
    person.run("branch", name, "fix")
    return person


def test_deleting_a_branch_never_retires_a_tag(ada: Person, name: str) -> None:
    assert f"plait tag -d {name} v1" in ada.fail("branch", "-d", name, "v1")
    assert f"plait branch -d {name} fix" in ada.fail("tag", "-d", name, "fix")
    assert [tag["name"] for tag in ada.ask("tag", name)["tags"]] == ["v1"]
    assert [item["name"] for item in ada.ask("branch", name)["branches"]] == ["fix", "main"]
    ada.run("tag", "-d", name, "v1")
    ada.run("branch", "-d", name, "fix")


def test_show_names_the_branches_and_tags_of_a_repository(ada: Person, name: str) -> None:
    assert ada.ask("show", f"{name}@v1")["refs"] == ["fix", "main", "tag: v1"]
    assert "tag: v1" in ada.run("show", name)


@pytest.mark.parametrize("option", ["-d", "-D"])
def test_branches_with_slashes_can_be_deleted_together(ada: Person, option: str) -> None:
    ada.run("init")
    ada.commit(1)
    for branch in ("fix/one", "fix/two"):
        ada.run("branch", branch)
    ada.run("branch", option, "fix/one", "fix/two")
    assert [item["name"] for item in ada.ask("branch")["branches"]] == ["main"]


@pytest.mark.parametrize("option", ["-d", "-D"])
def test_branch_of_a_repository_can_be_deleted_inside_a_working_copy(
    ada: Person, name: str, option: str, tmp_path: Path
) -> None:
    ada.run("init")
    ada.run("branch", option, name, "fix")
    outside = ada.at(tmp_path)
    assert [item["name"] for item in outside.ask("branch", name)["branches"]] == ["main"]
