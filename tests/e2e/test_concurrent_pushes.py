"""Many push at once: to one branch exactly one wins, to many branches all do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import plait
from e2e.conftest import MakeClient
from e2e.made_adapters import WEIGHTS, lora_tensors, serialize, write_adapter
from e2e.programs import Client, Registry, digest_tree, read_refusal

BRANCHES = 50


def test_one_of_two_pushes_wins_and_the_other_can_go_on(
    make_client: MakeClient, name: str, tmp_path: Path
) -> None:
    """Two programs with working copies of their own, over the command line."""
    ada, bob = make_client(), make_client()
    ada.run("push", write_adapter(tmp_path / "first"), name, "-m", "First", "--create")
    copies = {person: person.home / "work" for person in (ada, bob)}
    for number, (person, copy) in enumerate(copies.items()):
        person.run("clone", name, copy)
        (copy / f"notes-{number}.md").write_text("mine", encoding="utf-8")
        person.run("commit", "-m", f"Notes {number}", cwd=copy)
    started = {person: person.start("push", "--json", cwd=copies[person]) for person in copies}
    outcomes = {person: person.finish(process) for person, process in started.items()}
    assert sorted(outcome.status for outcome in outcomes.values()) == [0, 1]
    (loser,) = (person for person, outcome in outcomes.items() if outcome.status == 1)
    error = read_refusal(outcomes[loser])
    assert error["kind"] == "ref-update-conflict"
    assert "plait pull" in error["message"]
    assert loser.refusal("push", cwd=copies[loser])["kind"] == "ref-update-conflict"
    assert loser.refusal("pull", cwd=copies[loser])["kind"] == "diverged"
    assert loser.facts("pull", "--merge", cwd=copies[loser])["outcome"] == "merged"
    loser.run("push", cwd=copies[loser])
    path = Path(loser.run("pull", name).strip())
    assert {"notes-0.md", "notes-1.md"} <= digest_tree(path).keys()


def test_of_two_pushes_from_one_barrier_exactly_one_wins_every_time(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    folders = [write_adapter(tmp_path / f"{number}") for number in range(2)]
    with plait.connect(registry.url, token=registry.token) as opened:
        repository = opened.create(name)
        expected: list[str] = []
        for turn in range(10):
            for number, folder in enumerate(folders):
                seed = turn * 2 + number
                (folder / WEIGHTS).write_bytes(serialize(lora_tensors(seed=seed)))
            winners, losers = push_together(registry, name, folders, tmp_path)
            # Where there is no loser, the second began after the first had ended.
            assert len(winners) == 1 or not losers
            assert all(error.kind == "ref-update-conflict" for error in losers)
            expected += winners
            assert repository.resolve() in winners
        log = [str(info.id) for info in repository.log()]
        assert sorted(log) == sorted(expected)
        assert len(log) >= 10


def push_together(
    registry: Registry, name: str, folders: list[Path], home: Path
) -> tuple[list[str], list[plait.Conflict]]:
    """Push folders at one moment; return the commits that won and the errors of the others."""
    barrier = threading.Barrier(len(folders))

    def push(folder: Path) -> str | plait.Conflict:
        cache = home / "cache"
        with plait.connect(registry.url, token=registry.token, cache_dir=cache) as opened:
            barrier.wait(10)
            try:
                return str(opened.repository(name).push(folder, message="Race").commit)
            except plait.Conflict as error:
                return error

    with ThreadPoolExecutor(len(folders)) as pool:
        results = list(pool.map(push, folders))
    winners = [item for item in results if isinstance(item, str)]
    return winners, [item for item in results if isinstance(item, plait.Conflict)]


def test_fifty_pushes_to_fifty_branches_all_succeed(
    registry: Registry, client: Client, name: str, tmp_path: Path
) -> None:
    folders = [
        write_adapter(tmp_path / f"{number}", lora_tensors(seed=1000 + number))
        for number in range(BRANCHES)
    ]
    barrier = threading.Barrier(BRANCHES)

    def push(number: int) -> str:
        with plait.connect(registry.url, token=registry.token) as opened:
            barrier.wait(20)
            pushed = opened.repository(name).push(
                folders[number], message=f"Branch {number}", branch=f"b{number}"
            )
            return str(pushed.commit)

    with plait.connect(registry.url, token=registry.token) as opened:
        repository = opened.create(name)
        with ThreadPoolExecutor(BRANCHES) as pool:
            commits = list(pool.map(push, range(BRANCHES)))
        assert repository.refs().branches == {
            f"b{number}": commit for number, commit in enumerate(commits)
        }
    for number in (0, 17, 49):
        path = Path(client.run("pull", f"{name}@b{number}").strip())
        assert digest_tree(path) == digest_tree(folders[number])


@pytest.mark.slow
def test_programs_that_push_at_once_all_succeed(
    make_client: MakeClient, name: str, tmp_path: Path
) -> None:
    people = [make_client() for _ in range(6)]
    people[0].run("repo", "create", name)
    started = []
    for number, person in enumerate(people):
        folder = write_adapter(tmp_path / f"{number}", lora_tensors(seed=2000 + number))
        where = f"{name}@p{number}"
        started.append((person, person.start("push", folder, where, "-m", "Mine", "--json")))
    commits = {}
    for number, (person, process) in enumerate(started):
        outcome = person.finish(process)
        assert outcome.status == 0, outcome
        commits[f"p{number}"] = outcome.facts()["commit"]
    listed = people[0].facts("branch", name)["branches"]
    assert {item["name"]: item["commit"] for item in listed} == commits
