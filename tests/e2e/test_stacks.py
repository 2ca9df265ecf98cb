"""Stacks through the command line: kept as references, and pulled as what a server applies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.conftest import MakeClient
from e2e.programs import Client, digest_tree, read_refusal
from plait.model.ids import CommitId, ManifestId, hash_bytes
from plait.model.stack import Stack, StackedAdapter

pytestmark = pytest.mark.timeout(120)


@dataclass
class Shelf:
    """A person with two adapters and the name of a stack of them."""

    client: Client
    cpp: str
    prose: str
    stack: str

    def make(self, *words: str) -> str:
        """Stack adapters, and return the commit."""
        options = ("compose", "--method", "stack", "-o", self.stack, "--create")
        commit: str = self.client.facts(*options, *words)["commit"]
        return commit


@pytest.fixture
def shelf(client: Client, name: str, micro_data: Path) -> Shelf:
    """Two adapters in repositories of their own."""
    names = [f"{name}-{part}" for part in ("cpp", "prose", "stack")]
    for version, repository in zip(("cpp/v3", "prose/v2"), names, strict=False):
        folder = micro_data / "adapters" / version
        client.run("push", folder, repository, "-m", version, "--create")
    return Shelf(client, *names)


def write_stack(folder: Path, *adapters: StackedAdapter) -> Path:
    """Write a stack by hand."""
    folder.mkdir()
    (folder / "stack.json").write_bytes(Stack(adapters).to_bytes())
    return folder


def test_members_are_pulled_in_their_order_with_their_weights(
    shelf: Shelf, micro_data: Path
) -> None:
    shelf.make(f"{shelf.prose}*0.5", shelf.cpp)
    lines = shelf.client.run("pull", shelf.stack, "--members").splitlines()
    weights, folders = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert [float(weight) for weight in weights] == [0.5, 1.0]
    for folder, version in zip(folders, ("prose/v2", "cpp/v3"), strict=True):
        assert digest_tree(Path(folder)) == digest_tree(micro_data / "adapters" / version)


def test_members_are_told_as_json_with_what_the_stack_says_of_them(shelf: Shelf) -> None:
    commit = shelf.make(shelf.cpp, f"{shelf.prose}*-0.25")
    told = shelf.client.facts("pull", f"{shelf.stack}@main", "--members")
    listed = json.loads((Path(told["path"]) / "stack.json").read_text())["adapters"]
    keys = ("adapter", "commit", "manifest", "weight")
    assert told["commit"] == commit
    assert [{key: member[key] for key in keys} for member in told["members"]] == listed
    assert [Path(member["path"]).name for member in told["members"]] == [
        item["manifest"] for item in listed
    ]


def test_stack_outlives_the_repositories_that_its_members_came_from(
    shelf: Shelf, make_client: MakeClient, micro_data: Path
) -> None:
    shelf.make(shelf.cpp, shelf.prose)
    for repository in (shelf.cpp, shelf.prose):
        shelf.client.run("repo", "delete", repository, "--yes")
    stranger = make_client()
    members = stranger.facts("pull", shelf.stack, "--members")["members"]
    assert [digest_tree(Path(member["path"])) for member in members] == [
        digest_tree(micro_data / "adapters" / version) for version in ("cpp/v3", "prose/v2")
    ]
    assert stranger.facts("reproduce", shelf.stack)["same"]


def test_stack_is_shown_as_the_list_that_it_is(shelf: Shelf) -> None:
    commit = shelf.make(f"{shelf.cpp}*0.7", shelf.prose)
    shown = shelf.client.facts("show", shelf.stack)
    assert shown["adapter"] is None
    assert [(item["adapter"], item["weight"]) for item in shown["stack"]] == [
        (shelf.cpp, 0.7),
        (shelf.prose, 1),
    ]
    lines = shelf.client.run("show", f"{shelf.stack}@{commit}").splitlines()
    title = lines.index("Stack of 2 adapters, applied in this order:")
    parents = [item["commit"][:12] for item in shown["stack"]]
    assert lines[title + 1].split() == ["0.7", f"{shelf.cpp}@{parents[0]}"]
    assert lines[title + 2].split() == ["1", f"{shelf.prose}@{parents[1]}"]


def test_stack_is_shown_from_a_working_copy_and_listed_by_its_type(
    shelf: Shelf, tmp_path: Path
) -> None:
    shelf.make(shelf.cpp, shelf.prose)
    shelf.client.run("clone", shelf.stack, tmp_path / "work")
    shown = shelf.client.facts("show", cwd=tmp_path / "work")
    assert [item["adapter"] for item in shown["stack"]] == [shelf.cpp, shelf.prose]
    listed = shelf.client.facts("repo", "list", "--type", "stack")["repositories"]
    assert shelf.stack in {f"{item['namespace']}/{item['name']}" for item in listed}


@pytest.mark.parametrize(
    "words", [["stack"], ["concat"], ["sum", "--rank", "8"], ["stack", "--dry-run"]]
)
def test_stack_is_no_input_of_a_composition(shelf: Shelf, words: list[str]) -> None:
    commit = shelf.make(shelf.cpp, shelf.prose)
    words = ["compose", "--method", *words, "--to", "out", shelf.stack]
    outcome = shelf.client.try_run(*words, "--json")
    error = read_refusal(outcome)
    assert (outcome.status, error["kind"]) == (1, "invalid-stack")
    assert f"{shelf.stack}@{commit[:12]} is a stack" in error["message"]


def test_adapter_has_no_members(shelf: Shelf) -> None:
    error = shelf.client.refusal("pull", shelf.cpp, "--members")
    assert error["kind"] == "invalid-stack"
    assert shelf.cpp in error["message"]


@pytest.mark.parametrize("words", [["out"], ["--only", "x"], ["--force"], ["--verify"]])
def test_options_of_a_single_version_are_refused_beside_members(
    shelf: Shelf, words: list[str]
) -> None:
    outcome = shelf.client.try_run("pull", shelf.stack, *words, "--members")
    assert outcome.status == 2
    assert "--members goes without" in outcome.err


def test_members_of_a_stack_that_was_written_by_hand_come_from_their_own_repositories(
    shelf: Shelf, tmp_path: Path, micro_data: Path
) -> None:
    member = find_member(shelf.client, shelf.cpp)
    folder = write_stack(tmp_path / "by-hand", member)
    words = ("-m", "by hand", "--create", "--base", "micro/base")
    shelf.client.run("push", folder, shelf.stack, *words)
    (told,) = shelf.client.facts("pull", shelf.stack, "--members")["members"]
    assert digest_tree(Path(told["path"])) == digest_tree(micro_data / "adapters/cpp/v3")


def test_stack_that_names_what_is_not_there_says_which_member(shelf: Shelf, tmp_path: Path) -> None:
    gone = StackedAdapter(
        adapter="nobody/nothing",
        commit=CommitId(hash_bytes(b"gone")),
        manifest=ManifestId(hash_bytes(b"gone as well")),
    )
    folder = write_stack(tmp_path / "by-hand", find_member(shelf.client, shelf.cpp), gone)
    words = ("-m", "by hand", "--create", "--base", "micro/base")
    shelf.client.run("push", folder, shelf.stack, *words)
    error = shelf.client.refusal("pull", shelf.stack, "--members")
    assert error["kind"] == "repository-not-found"
    assert "Adapter 2 (nobody/nothing@" in error["message"]


def test_member_that_is_not_the_version_that_the_stack_means_is_refused(
    shelf: Shelf, tmp_path: Path
) -> None:
    cpp, prose = (find_member(shelf.client, name) for name in (shelf.cpp, shelf.prose))
    forged = StackedAdapter(adapter=cpp.adapter, commit=cpp.commit, manifest=prose.manifest)
    folder = write_stack(tmp_path / "by-hand", forged)
    words = ("-m", "by hand", "--create", "--base", "micro/base")
    shelf.client.run("push", folder, shelf.stack, *words)
    error = shelf.client.refusal("pull", shelf.stack, "--members")
    assert error["kind"] == "digest-mismatch"
    assert "Adapter 1" in error["message"]


def find_member(client: Client, repository: str) -> StackedAdapter:
    """Return the newest version of a repository as a stack names it."""
    shown = client.facts("show", repository)
    return StackedAdapter(
        adapter=repository, commit=shown["id"], manifest=shown["commit"]["manifest"]
    )
