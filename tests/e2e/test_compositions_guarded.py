"""Compositions among other people: what may not be read or shown, and what happens meanwhile."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import MakeClient, MakeRegistry
from e2e.programs import Client, Registry, Transcript, read_refusal, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIMIT = 240.0
"""Seconds: kernels are compiled the first time that anything is composed on a machine."""
SUM = ("--method", "sum", "--rank", "8")


class Guest(Client):
    """A person who owns a namespace of their own and nothing else."""

    def __init__(self, home: Path, registry: Registry, transcript: Transcript) -> None:
        super().__init__(home, registry, transcript)
        headers = {"Authorization": f"Bearer {registry.token}"}
        with httpx.Client(base_url=registry.url, headers=headers, timeout=60) as client:
            assert client.post("/api/v1/users", json={"name": home.name}).is_success
            made = client.post("/api/v1/tokens", json={"user": home.name}).json()
        self.token = made["secret"]
        transcript.secrets.add(self.token)

    def environment(self) -> dict[str, str]:
        """Return the settings of this person."""
        return {**super().environment(), "PLAIT_TOKEN": self.token}


@pytest.fixture
def inputs(client: Client, name: str, micro_data: Path) -> tuple[str, str]:
    """Two private repositories with an adapter each."""
    names = (f"{name}-cpp", f"{name}-prose")
    for repository, folder in zip(names, ("cpp/v3", "prose/v2"), strict=True):
        client.run("push", micro_data / "adapters" / folder, repository, "-m", "x", "--create")
    return names


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs keep what is temporary."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def refuse(client: Client, *words: object) -> dict[str, Any]:
    """Return the error of a composition that is refused."""
    outcome = client.try_run("compose", *words, "--json", limit=LIMIT)
    assert outcome.status == 1, outcome
    return read_refusal(outcome)


def tips(client: Client, repository: str) -> dict[str, str]:
    """Return where the branches of a repository are."""
    branches = client.facts("branch", repository)["branches"]
    return {branch["name"]: branch["commit"] for branch in branches}


def test_private_input_is_not_shown_to_those_who_read_the_outcome(
    client: Client, name: str, inputs: tuple[str, str]
) -> None:
    blend = f"{name}-open"
    client.run("repo", "create", blend, "--public")
    error = refuse(client, "-o", blend, *SUM, *inputs)
    assert error["kind"] == "disclosure-refused"
    assert error["message"].startswith(f"{inputs[0]}@")
    assert "--allow disclosure" in error["message"]
    assert tips(client, blend) == {}
    words = ("compose", "-o", blend, *SUM, "--allow", "disclosure", *inputs)
    made = client.facts(*words, limit=LIMIT)
    assert made["recipe"]["allow"] == ["disclosure"]


def test_private_outcome_of_another_namespace_shows_the_input_to_others_too(
    client: Client, name: str, inputs: tuple[str, str]
) -> None:
    other = name.replace("e2e/", "elsewhere/")
    error = refuse(client, "-o", other, "--create", *SUM, *inputs)
    assert error["kind"] == "disclosure-refused"


def test_input_that_may_not_be_read_looks_like_one_that_is_not_there(
    make_registry: MakeRegistry,
    make_client: MakeClient,
    micro_data: Path,
    tmp_path: Path,
    transcript: Transcript,
) -> None:
    registry = make_registry()
    owner = make_client(registry)
    folder = micro_data / "adapters/prose/v2"
    owner.run("push", folder, "owner/secret", "-m", "x", "--create")
    eve = Guest(tmp_path / "homes" / "eve", registry, transcript)
    eve.run("push", micro_data / "adapters/cpp/v3", "eve/own", "-m", "x", "--create")
    for extra in ((), ("--dry-run",)):
        said = []
        for wanted in ("owner/secret", "owner/absent"):
            error = refuse(eve, "-o", "eve/blend", "--create", *extra, *SUM, "eve/own", wanted)
            assert error["kind"] == "repository-not-found"
            assert f"The input {wanted}: " in error["message"]
            said.append(error["message"].replace(wanted, "owner/*"))
        assert said[0] == said[1]
    # Nor does a commit that is known from elsewhere help.
    commit = owner.facts("show", "owner/secret")["id"]
    error = refuse(eve, "-o", "eve/blend", "--create", *SUM, "eve/own", f"owner/secret@{commit}")
    assert error["kind"] == "repository-not-found"


def start_and_hold(client: Client, scratch: Path, *words: object) -> subprocess.Popen[str]:
    """Start a composition, and stop it (SIGSTOP) once it knows its branch and starts to compute."""
    process = client.start("compose", *words, "--json")
    wait_for(lambda: list(scratch.glob("plait-compose-*")), limit=60, what="a composition")
    process.send_signal(signal.SIGSTOP)
    return process


def test_branch_that_moves_while_composing_is_a_conflict_and_nothing_is_published(
    client: Client, name: str, inputs: tuple[str, str], scratch: Path, micro_data: Path
) -> None:
    blend = f"{name}-blend"
    client.run("push", micro_data / "adapters/tests", blend, "-m", "First", "--create")
    words = ("-o", blend, *SUM, *inputs)
    held = start_and_hold(client, scratch, *words)
    client.run("push", micro_data / "adapters/cpp/v1", blend, "-m", "Meanwhile")
    before, stored = tips(client, blend), client.facts("log", blend)["commits"]
    held.send_signal(signal.SIGCONT)
    outcome = client.finish(held, limit=LIMIT)
    assert outcome.status == 1
    error = read_refusal(outcome)
    assert error["kind"] == "ref-update-conflict"
    assert "Nothing of yours was published" in error["message"]
    assert tips(client, blend) == before
    assert client.facts("log", blend)["commits"] == stored
    # The same command continues the version that came first.
    made = client.facts("compose", *words, limit=LIMIT)
    shown = client.facts("show", blend)
    assert shown["id"] == made["commit"]
    assert shown["commit"]["parents"][0] == before["main"]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("moment", ["plait-compose-*", "plait-compose-*/*.data"])
def test_composition_that_was_killed_leaves_nothing_and_works_again(
    client: Client, name: str, inputs: tuple[str, str], scratch: Path, moment: str
) -> None:
    blend = f"{name}-blend"
    client.run("repo", "create", blend)
    words = ("compose", "-o", blend, *SUM, *inputs)
    before = client.registry.objects()
    process = client.start(*words)
    wait_for(lambda: list(scratch.glob(moment)), limit=60, what="a composition")
    process.kill()
    client.finish(process)
    assert tips(client, blend) == {}
    assert client.registry.objects() == before
    made = client.facts(*words, limit=LIMIT)
    assert (made["new"], tips(client, blend)) == (True, {"main": made["commit"]})
    assert client.facts("reproduce", blend, limit=LIMIT)["same"]


def test_two_compositions_at_once_from_one_cache_give_the_same_bytes(
    client: Client, name: str, inputs: tuple[str, str]
) -> None:
    blend = f"{name}-blend"
    client.run("repo", "create", blend)
    started = [
        client.start("compose", "-o", f"{blend}@{branch}", *SUM, *inputs, "--json")
        for branch in ("left", "right")
    ]
    made = [client.finish(process, limit=LIMIT) for process in started]
    assert [outcome.status for outcome in made] == [0, 0]
    assert len({outcome.facts()["manifest"] for outcome in made}) == 1
    assert tips(client, blend).keys() == {"left", "right"}


def test_of_two_compositions_to_one_branch_one_comes_first_and_none_is_lost(
    client: Client, make_client: MakeClient, name: str, inputs: tuple[str, str], scratch: Path
) -> None:
    blend = f"{name}-blend"
    client.run("repo", "create", blend)
    held = start_and_hold(client, scratch, "-o", blend, *SUM, *inputs)
    other = make_client()
    first = other.facts("compose", "-o", blend, "--method", "concat", *inputs, limit=LIMIT)
    held.send_signal(signal.SIGCONT)
    outcome = client.finish(held, limit=LIMIT)
    assert read_refusal(outcome)["kind"] == "ref-update-conflict"
    assert tips(client, blend) == {"main": first["commit"]}
