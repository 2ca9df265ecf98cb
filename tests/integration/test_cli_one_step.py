"""What training scripts and operators type: each command by itself, over a real server."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person
from copies.workshop import CONFIG, WEIGHTS, read_tree, weight_bytes
from plait.partial import METADATA_KEY


@pytest.fixture
def ada(registry_server: Any, tmp_path: Path) -> Person:
    return make_person(registry_server, tmp_path / "ada")


@pytest.fixture
def name(repository_name: Callable[[], str]) -> str:
    return repository_name()


def push(ada: Person, name: str, value: int, *options: str) -> Any:
    """Train into the folder and push it in one step."""
    ada.train(value)
    return ada.ask("push", ".", name, "-m", f"version {value}", *options)


def test_folder_is_pushed_in_one_step_and_twice_sends_nothing(ada: Person, name: str) -> None:
    # Other tests may have sent the same weights to this registry, but not this file.
    (ada.folder / "README.md").write_text(name)
    first = push(ada, name, 1, "--create", "--metric", "loss=1.5")
    assert first["new"]
    assert first["bytes_sent"] >= len(name)
    again = push(ada, name, 1)
    assert (again["new"], again["bytes_sent"], again["commit"]) == (False, 0, first["commit"])
    assert "nothing was sent" in ada.run("push", ".", name, "-m", "again")
    (note,) = ada.ask("note", "list", name)["notes"]
    assert (note["kind"], note["body"]) == ("metrics", {"loss": 1.5})


def test_push_into_an_absent_repository_says_how_to_make_it(ada: Person, name: str) -> None:
    ada.train(1)
    assert "create" in ada.fail("push", ".", name, "-m", "x")


@pytest.mark.parametrize("message", ["", " \n"])
def test_push_without_a_message_is_refused_before_anything_is_made(
    ada: Person, name: str, message: str
) -> None:
    ada.train(1)
    assert "-m" in ada.fail("push", ".", name, "-m", message, "--create", status=2)
    assert "no repository" in ada.fail("log", name)


def test_push_to_a_branch_makes_it(ada: Person, name: str) -> None:
    push(ada, name, 1, "--create")
    ada.train(2)
    pushed = ada.ask("push", ".", f"{name}@wide", "-m", "wider")
    branches = ada.ask("branch", name)["branches"]
    assert [(item["name"], item["default"]) for item in branches] == [
        ("main", True),
        ("wide", False),
    ]
    assert branches[1]["commit"] == pushed["commit"]


def test_pickled_weights_are_refused_with_advice(ada: Person, name: str) -> None:
    ada.train(1)
    (ada.folder / "adapter_model.bin").write_bytes(b"\x80\x02.")
    assert "convert" in ada.fail("push", ".", name, "-m", "x", "--create")


def test_pull_prints_one_path_to_a_read_only_folder_and_nothing_else(
    ada: Person, name: str
) -> None:
    pushed = push(ada, name, 1, "--create")
    answer = ada.type("pull", name)
    assert (answer.status, answer.err) == (0, "")
    folder = Path(answer.out.rstrip("\n"))
    assert answer.out == f"{folder}\n"
    assert folder.name == pushed["manifest"]
    assert read_tree(folder) == read_tree(ada.folder)
    assert not stat.S_IMODE((folder / WEIGHTS).stat().st_mode) & 0o222
    again = ada.ask("pull", f"{name}@{pushed['commit'][:9]}")
    assert (again["path"], again["bytes_received"]) == (str(folder), 0)
    ada.run("pull", name, "--verify")


def test_pull_into_a_folder_writes_a_copy_and_replaces_only_by_force(
    ada: Person, name: str, tmp_path: Path
) -> None:
    push(ada, name, 1, "--create")
    out = tmp_path / "out"
    assert "2 files" in ada.run("pull", name, out)
    assert read_tree(out) == read_tree(ada.folder)
    push(ada, name, 2)
    (out / WEIGHTS).write_bytes(b"mine")
    ada.fail("pull", name, out)
    assert (out / WEIGHTS).read_bytes() == b"mine"
    ada.run("pull", name, out, "--force")
    assert read_tree(out) == read_tree(ada.folder)


def test_pull_of_some_tensors_is_a_valid_smaller_adapter(
    ada: Person, name: str, tmp_path: Path
) -> None:
    push(ada, name, 1, "--create")
    ada.run("pull", name, tmp_path / "part", "--only", "*lora_A*")
    data = (tmp_path / "part" / WEIGHTS).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert METADATA_KEY in header.pop("__metadata__")
    assert [key for key in header if "lora_A" not in key] == []
    assert len(header) == 1
    assert len(data) == 8 + size + 24
    assert (tmp_path / "part" / CONFIG).is_file()
    assert "no tensor" in ada.fail("pull", name, tmp_path / "none", "--only", "nothing").lower()


def test_history_of_a_repository_is_read_without_a_working_copy(ada: Person, name: str) -> None:
    first = push(ada, name, 1, "--create")["commit"]
    second = push(ada, name, 2)["commit"]
    ada.run("tag", name, "v1", first)
    log = ada.ask("log", name)["commits"]
    assert [(item["id"], item["refs"]) for item in log] == [
        (second, ["main"]),
        (first, ["tag: v1"]),
    ]
    assert ada.run("log", f"{name}@v1", "--oneline") == f"{first[:12]} (tag: v1) version 1\n"
    assert ada.run("log", name, "--graph", "-n", "1").startswith(f"* commit {second} (main)\n")
    shown = ada.ask("show", f"{name}@v1")
    assert (shown["id"], shown["adapter"]) == (first, "LoRA r=2 alpha=4 on q_proj")
    assert ada.run("show", name).startswith(f"commit {second}")
    assert ada.run("merge-base", name, "main", "v1") == f"{first}\n"
    assert f"changed  {WEIGHTS}" in ada.run("diff", name, "v1", "main")
    assert ada.ask("diff", name, "v1", "main")["deltas"]["total"]["relative_change"] > 0
    assert ada.ask("diff", name, "main", "main")["files"]["changes"] == []


def test_branches_and_tags_of_a_repository_are_made_and_deleted(ada: Person, name: str) -> None:
    commit = push(ada, name, 1, "--create")["commit"]
    assert ada.ask("branch", name, "fix") == {"name": "fix", "commit": commit}
    assert ada.ask("tag", name, "v1", "main") == {"name": "v1", "commit": commit}
    assert ada.ask("tag", name) == {"tags": [{"name": "v1", "commit": commit}]}
    assert "fix" in ada.run("branch", "-d", name, "fix")
    assert ada.ask("tag", "-d", name, "v1")["name"] == "v1"
    assert ada.run("branch", name).split() == ["*", "main", commit[:12]]
    # The name of a deleted tag is spent.
    assert "v1" in ada.fail("tag", name, "v1")


def test_notes_are_added_to_a_version_and_shown_with_it(ada: Person, name: str) -> None:
    commit = push(ada, name, 1, "--create")["commit"]
    ada.run("note", "add", name, "--kind", "evaluation", "--metric", "accuracy=0.81")
    assert ada.ask("note", "list", f"{name}@{commit[:8]}")["notes"][0]["body"] == {"accuracy": 0.81}
    assert "Note:    evaluation: accuracy=0.81" in ada.run("show", name)
    assert "Note:    evaluation: accuracy=0.81" in ada.run("log", name)
    assert "--metric" in ada.fail("note", "add", name, status=2)
    (listed,) = ada.ask("note", "list", name)["notes"]
    assert ada.ask("show", name)["notes"] == [listed]
    assert ada.ask("log", name)["commits"][0]["notes"] == [listed]


def test_notes_come_along_with_a_clone_and_are_told_offline(
    ada: Person, name: str, tmp_path: Path
) -> None:
    push(ada, name, 1, "--create", "--metric", "loss=1.5")
    ada.at(tmp_path).run("clone", name, "copy")
    inside = ada.at(tmp_path / "copy")
    assert "Note:    metrics: loss=1.5" in inside.run("log")
    assert inside.ask("show")["notes"][0]["body"] == {"loss": 1.5}
    inside.run("note", "add", "--metric", "bleu=31")
    assert [note["body"] for note in inside.ask("note", "list")["notes"]] == [
        {"loss": 1.5},
        {"bleu": 31},
    ]


def test_repositories_are_made_found_and_shown(ada: Person, name: str) -> None:
    made = ada.ask("repo", "create", name, "--description", "For tests")
    assert f"{made['namespace']}/{made['name']}" == name
    assert name in ada.fail("repo", "create", name)
    commit = push(ada, name, 1)["commit"]
    found = ada.ask("repo", "list", name.partition("/")[2])["repositories"]
    assert [(item["name"], item["head"]) for item in found] == [(made["name"], commit)]
    assert ada.ask("repo", "list", made["name"], "--base", "other/base")["repositories"] == []
    assert len(ada.ask("repo", "list", made["name"], "--type", "LORA")["repositories"]) == 1
    assert name in ada.run("repo", "list", "--base", "micro/base", "--namespace", "tests")
    assert ada.ask("repo", "show", name)["base"] == "micro/base"
    assert "For tests" in ada.run("repo", "show", name)
    assert "NS/NAME" in ada.fail("repo", "show", status=2)


def test_login_keeps_a_token_that_the_registry_knows(
    registry_server: Any, tmp_path: Path, name: str
) -> None:
    nobody = Person(tmp_path)
    assert nobody.type("login", registry_server.url, stdin="wrong\n").status == 1
    assert nobody.type("login", registry_server.url, stdin="\n").status == 2
    answer = nobody.type("login", registry_server.url, "--json", stdin=f"{registry_server.token}\n")
    config = Path(answer.facts()["config"])
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert registry_server.token not in answer.out + answer.err
    nobody.run("repo", "create", name)
    assert nobody.ask("repo", "show", name)["head"] is None


def test_cache_is_shown_verified_and_cleared(ada: Person, name: str) -> None:
    assert ada.ask("cache", "show")["files"] == 0
    push(ada, name, 1, "--create")
    folder = Path(ada.ask("pull", name)["path"])
    shown = ada.ask("cache", "show")
    assert (shown["files"], shown["versions"]) == (2, 1)
    assert "all intact" in ada.run("cache", "verify")
    weights = folder / WEIGHTS
    weights.chmod(0o644)
    weights.write_bytes(bytes(len(weight_bytes(1))))
    assert ada.ask("cache", "verify")["damaged"]
    pulled = ada.ask("pull", name)
    assert pulled["bytes_received"] > 0
    assert (Path(pulled["path"]) / WEIGHTS).read_bytes() == weight_bytes(1)
    assert "Removed" in ada.run("cache", "clear")
    assert ada.ask("cache", "show")["bytes"] == 0


def test_address_can_be_given_by_hand(registry_server: Any, tmp_path: Path, name: str) -> None:
    person = Person(tmp_path, PLAIT_TOKEN=registry_server.token)
    person.run("repo", "create", name, "--url", registry_server.url)
    assert person.run("log", name, "--url", registry_server.url, "-n", "0") == ""
    assert "nonsense" in person.fail("repo", "show", name, "--url", "nonsense")


def test_version_that_is_not_there_is_told_in_one_sentence(ada: Person, name: str) -> None:
    assert name in ada.fail("pull", name)
    push(ada, name, 1, "--create")
    for words in (("pull", f"{name}@gone"), ("show", f"{name}@gone"), ("log", f"{name}@main~9")):
        assert len(ada.fail(*words).splitlines()) == 1
