"""The working copy, used as people use git."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import MakeClient, MakeRegistry
from e2e.made_adapters import CONFIG, WEIGHTS, lora_tensors, serialize, write_adapter
from e2e.programs import Client, digest_tree

STATE = frozenset({".plait"})
COMMITS = 250
"""More than two calls of a push carry."""


def write_version(folder: Path, seed: int) -> None:
    (folder / WEIGHTS).write_bytes(serialize(lora_tensors(seed=seed)))


def commit(client: Client, folder: Path, message: str) -> str:
    return str(client.facts("commit", "-m", message, cwd=folder)["commit"])


def tree(folder: Path) -> dict[str, bytes]:
    return digest_tree(folder, skip=STATE)


def log(client: Client, folder: Path, *words: str) -> list[dict[str, Any]]:
    commits: list[dict[str, Any]] = client.facts("log", *words, cwd=folder)["commits"]
    return commits


def start_repository(client: Client, name: str) -> Path:
    """Make a working copy with one commit on `main`, which is pushed."""
    client.run("repo", "create", name)
    folder = write_adapter(client.home / "work")
    client.run("init", "--remote", name, cwd=folder)
    commit(client, folder, "First")
    client.run("push", cwd=folder)
    return folder


def test_what_is_committed_here_is_cloned_there(make_client: MakeClient, name: str) -> None:
    ada, bob = make_client(), make_client()
    work = start_repository(ada, name)
    write_version(work, 2)
    (work / "notes").mkdir()
    (work / "notes" / "readme.md").write_text("about", encoding="utf-8")
    commit(ada, work, "Second")
    ada.run("tag", "v1.0", cwd=work)
    ada.run("push", cwd=work)
    ada.run("push", "v1.0", cwd=work)
    bob.run("clone", name, "theirs")
    theirs = bob.home / "theirs"
    assert tree(theirs) == tree(work)
    assert [item["id"] for item in log(bob, theirs)] == [item["id"] for item in log(ada, work)]
    assert bob.facts("tag", cwd=theirs) == ada.facts("tag", cwd=work)
    assert bob.facts("status", cwd=theirs)["clean"]


def test_lines_that_diverged_are_joined_only_when_asked_to(
    make_client: MakeClient, name: str
) -> None:
    ada, bob = make_client(), make_client()
    work = start_repository(ada, name)
    bob.run("clone", name, "theirs")
    theirs = bob.home / "theirs"
    write_version(work, 2)
    mine = commit(ada, work, "New weights")
    ada.run("push", cwd=work)
    (theirs / "readme.md").write_text("about", encoding="utf-8")
    other = commit(bob, theirs, "A readme")

    assert bob.refusal("push", cwd=theirs)["kind"] == "ref-update-conflict"
    before = tree(theirs)
    error = bob.refusal("pull", cwd=theirs)
    assert error["kind"] == "diverged"
    assert "--merge" in error["message"]
    assert tree(theirs) == before
    assert bob.refusal("push", cwd=theirs)["kind"] == "ref-not-fast-forward"

    merged = bob.facts("pull", "--merge", cwd=theirs)
    assert merged["outcome"] == "merged"
    assert log(bob, theirs)[0]["commit"]["parents"] == [other, mine]
    assert tree(theirs) == {**tree(work), "readme.md": b"about"}
    bob.run("push", cwd=theirs)
    assert ada.facts("pull", cwd=work)["outcome"] == "fast-forward"
    assert tree(work) == tree(theirs)
    graph = ada.run("log", "--graph", "--oneline", cwd=work)
    assert "*" in graph
    assert "|\\" in graph
    assert ada.run("merge-base", mine, other, cwd=work).strip() == log(ada, work)[-1]["id"]


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_conflict_is_settled_by_choosing_a_side(
    make_client: MakeClient, name: str, side: str
) -> None:
    ada, bob = make_client(), make_client()
    work = start_repository(ada, name)
    bob.run("clone", name, "theirs")
    theirs = bob.home / "theirs"
    for person, folder, seed in ((ada, work, 2), (bob, theirs, 3)):
        write_version(folder, seed)
        commit(person, folder, f"Seed {seed}")
    ada.run("push", cwd=work)
    before = tree(theirs)
    error = bob.refusal("pull", "--merge", cwd=theirs)
    assert error["kind"] == "merge-conflict"
    assert WEIGHTS in error["message"]
    assert tree(theirs) == before
    bob.run("pull", "--merge", f"--{side}", cwd=theirs)
    assert tree(theirs) == (before if side == "ours" else tree(work))
    bob.run("push", cwd=theirs)
    assert len(log(bob, theirs)) == 4


def test_revert_takes_back_one_commit_and_keeps_later_ones(client: Client, name: str) -> None:
    work = start_repository(client, name)
    first = tree(work)
    write_version(work, 2)
    commit(client, work, "Worse weights")
    (work / "readme.md").write_text("about", encoding="utf-8")
    commit(client, work, "A readme")
    client.run("revert", "HEAD~1", cwd=work)
    assert tree(work) == {**first, "readme.md": b"about"}
    newest = log(client, work)[0]["commit"]
    assert newest["origin"]["kind"] == "revert"
    assert newest["message"].startswith('Revert "Worse weights"')
    client.run("push", cwd=work)
    assert client.refusal("revert", "HEAD~2", cwd=work)["kind"] == "nothing-to-commit"


def test_changes_in_no_commit_are_never_lost_unasked(client: Client, name: str) -> None:
    work = start_repository(client, name)
    client.run("switch", "-c", "other", cwd=work)
    write_version(work, 2)
    commit(client, work, "Other weights")
    (work / WEIGHTS).write_bytes(b"hours of work")
    (work / "new.txt").write_text("new", encoding="utf-8")
    status = client.facts("status", cwd=work)
    assert (status["modified"], status["added"]) == ([WEIGHTS], ["new.txt"])
    short = client.run("status", "-s", cwd=work)
    assert f"M {WEIGHTS}" in short
    before = tree(work)
    for words in (["switch", "main"], ["revert", "HEAD"], ["switch", "--detach", "main"]):
        assert client.refusal(*words, cwd=work)["kind"] == "uncommitted-changes"
        assert tree(work) == before
    client.run("switch", "main", "--discard-changes", cwd=work)
    assert (work / "new.txt").read_text("utf-8") == "new"
    assert (work / WEIGHTS).read_bytes() == serialize(lora_tensors())


def test_file_that_a_pull_would_overwrite_is_kept(make_client: MakeClient, name: str) -> None:
    ada, bob = make_client(), make_client()
    work = start_repository(ada, name)
    bob.run("clone", name, "theirs")
    (work / "readme.md").write_text("hers", encoding="utf-8")
    commit(ada, work, "Readme")
    ada.run("push", cwd=work)
    theirs = bob.home / "theirs"
    (theirs / "readme.md").write_text("his, in no commit", encoding="utf-8")
    assert bob.refusal("pull", cwd=theirs)["kind"] == "uncommitted-changes"
    assert (theirs / "readme.md").read_text("utf-8") == "his, in no commit"


def test_branches_tags_and_forced_pushes(make_client: MakeClient, name: str) -> None:
    ada, bob = make_client(), make_client()
    work = start_repository(ada, name)
    first = log(ada, work)[0]["id"]
    write_version(work, 2)
    second = commit(ada, work, "Second")
    ada.run("push", cwd=work)
    bob.run("clone", name, "theirs")
    ada.run("branch", "keep", cwd=work)
    ada.run("switch", "--detach", first, cwd=work)
    ada.run("switch", "-c", "again", cwd=work)
    assert tree(work) == {**tree(work), WEIGHTS: serialize(lora_tensors())}
    ada.run("branch", "-D", "main", cwd=work)
    ada.run("branch", "-m", "main", cwd=work)
    write_version(work, 3)
    third = commit(ada, work, "Another second")
    assert ada.refusal("push", cwd=work)["kind"] == "ref-not-fast-forward"
    ada.run("push", "--force", cwd=work)
    assert ada.facts("branch", name)["branches"][0]["commit"] == third
    fetched = bob.facts("fetch", cwd=bob.home / "theirs")
    assert [item["change"] for item in fetched["refs"]] == ["forced"]
    assert bob.refusal("push", cwd=bob.home / "theirs")["kind"] == "ref-not-fast-forward"
    ada.run("push", "--all", cwd=work)
    tips = {item["name"]: item["commit"] for item in ada.facts("branch", name)["branches"]}
    assert tips == {"main": third, "keep": second}


def test_everything_but_transfers_works_while_the_registry_is_away(
    make_registry: MakeRegistry, make_client: MakeClient, name: str
) -> None:
    registry = make_registry()
    client = make_client(registry)
    work = start_repository(client, name)
    token = registry.token
    registry.stop()
    write_version(work, 2)
    client.run("status", cwd=work)
    client.run("diff", cwd=work)
    second = commit(client, work, "Offline")
    for words in (
        ["log", "--graph"],
        ["show"],
        ["diff", "HEAD~1", "HEAD"],
        ["branch", "side"],
        ["branch", "-a"],
        ["tag", "v1"],
        ["tag"],
        ["switch", "side"],
        ["merge-base", "main", "side"],
        ["revert", "HEAD"],
        ["switch", "main"],
        ["log", "origin/main"],
        ["branch", "-D", "side"],
    ):
        client.run(*words, cwd=work)
    for words in (["push"], ["clone", name, "elsewhere"]):
        assert client.refusal(*words, cwd=work)["kind"] == "registry-unreachable"
    assert not (work / "elsewhere" / ".plait" / "refs.json").exists()
    assert client.facts("status", cwd=work)["clean"]
    registry.start()
    assert registry.token == token
    client.run("push", cwd=work)
    assert client.facts("branch", name)["branches"][0]["commit"] == second


def test_diff_speaks_of_adapters(client: Client, name: str) -> None:
    work = start_repository(client, name)
    config = json.loads((work / CONFIG).read_text("utf-8"))
    config.update(lora_alpha=32, target_modules=sorted(config["target_modules"]))
    (work / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    write_version(work, 2)
    text = client.run("diff", cwd=work)
    assert "lora_alpha" in text
    assert "target_modules" not in text
    assert "q_proj" in text
    commit(client, work, "Alpha")
    client.run("push", cwd=work)
    here = client.facts("diff", "main~1", "main", cwd=work)
    assert here == client.facts("diff", name, "main~1", "main")


@pytest.mark.slow
def test_two_hundred_and_fifty_commits_go_in_one_push(make_client: MakeClient, name: str) -> None:
    ada, bob = make_client(), make_client()
    work = write_adapter(ada.home / "work", lora_tensors(layers=1))
    ada.run("repo", "create", name)
    ada.run("init", "--remote", name, cwd=work)
    commits = make_commits(ada, work, COMMITS)
    pushed = ada.facts("push", cwd=work)
    assert pushed["refs"][0]["commits"] == COMMITS
    assert [item["id"] for item in log(ada, work)] == commits[::-1]
    bob.run("clone", name, "theirs")
    theirs = bob.home / "theirs"
    assert [item["id"] for item in log(bob, theirs)] == commits[::-1]
    assert tree(theirs) == tree(work)
    listed = bob.facts("log", name)["commits"]
    assert [item["id"] for item in listed] == commits[::-1]
    assert bob.facts("show", f"{name}@main~200")["id"] == commits[-201]
    assert bob.facts("show", "main~200", cwd=theirs)["id"] == commits[-201]
    assert bob.refusal("show", f"{name}@main~{COMMITS}")["kind"] == "revision-not-found"
    bob.run("switch", "--detach", commits[100], cwd=theirs)
    assert (theirs / "step.txt").read_text("utf-8") == "100"


def make_commits(client: Client, folder: Path, count: int) -> list[str]:
    """Make commits by what `plait commit` calls: a process for each would take minutes."""
    from plait.model.commit import Person
    from plait.working_copy.commit import Authorship, NewCommit, commit_folder
    from plait.working_copy.copy import WorkingCopy

    copy = WorkingCopy.find(folder)
    made = []
    for number in range(count):
        (folder / "step.txt").write_text(str(number), encoding="utf-8")
        author = Authorship(Person("Ada", ""), f"2026-01-01T{number // 60:02}:{number % 60:02}:00Z")
        made.append(str(commit_folder(copy, NewCommit(f"Step {number}", author)).id))
    return made
