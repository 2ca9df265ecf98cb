"""The registry is killed (SIGKILL) at many points of a push.

Whatever the point: the branch is where it was or where the push wanted it, the next push succeeds
without sending again what had arrived, and all that is pulled verifies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.conftest import MakeClient, MakeRegistry
from e2e.crash import (
    MIB,
    SLACK,
    Moment,
    after,
    bytes_that_arrived,
    read_log,
    read_tips,
    received,
    sent,
    strike,
    verify_pull,
)
from e2e.made_adapters import write_adapter, write_large_adapter
from e2e.programs import Client, Registry, digest_tree, wait_for
from e2e.wiretap import Wiretap, tap

pytestmark = pytest.mark.slow

NAME = "team/crash"
SIZE = 66 * MIB
"""More than goes in one request: five parts of 16 MiB."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("first") / "adapter")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_large_adapter(tmp_path_factory.mktemp("second") / "adapter", mebibytes=66)


@pytest.fixture
def registry(make_registry: MakeRegistry) -> Registry:
    return make_registry()


@pytest.fixture
def wiretap(registry: Registry) -> Iterator[Wiretap]:
    with tap(registry.port) as running:
        yield running


@pytest.fixture
def client(registry: Registry, wiretap: Wiretap, make_client: MakeClient, first: Path) -> Client:
    """A person who has pushed the first version, through a relay that counts."""
    made = make_client(registry)
    made.via = wiretap.url
    made.run("push", first, NAME, "-m", "First", "--create")
    wiretap.reset()
    return made


def _objects_appear(registry: Registry, more: int) -> Moment:
    before = len(registry.objects())
    return lambda: len(registry.objects()) >= before + more


POINTS: dict[str, Callable[[Registry, Wiretap], Moment]] = {
    "at-once": lambda registry, wiretap: after(0.0),
    "first-incoming-file": lambda registry, wiretap: lambda: bool(registry.incoming()),
    "half": lambda registry, wiretap: sent(wiretap, SIZE // 2),
    "nine-tenths": lambda registry, wiretap: sent(wiretap, SIZE * 9 // 10),
    "all-bytes": lambda registry, wiretap: sent(wiretap, SIZE),
    "documents-appear": lambda registry, wiretap: _objects_appear(registry, 2),
    "last-document-appears": lambda registry, wiretap: _objects_appear(registry, 3),
}


def _large_object_appears(registry: Registry) -> Moment:
    return lambda: any(size > MIB for size in registry.objects().values())


@pytest.mark.parametrize("point", POINTS)
def test_push_after_a_crash_sends_only_what_had_not_arrived(
    registry: Registry, wiretap: Wiretap, client: Client, second: Path, point: str
) -> None:
    old = read_tips(registry, NAME)["main"]
    wiretap.reset()
    watch = strike(POINTS[point](registry, wiretap), registry.kill)
    push = client.start("push", second, NAME, "-m", "Second")
    watch.join()
    push.kill()
    client.finish(push)
    arrived = bytes_that_arrived(registry)
    verify_recovery(registry, wiretap, client, second, old=old, arrived=arrived)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_push_that_crashed_while_it_was_verified_is_repeated(
    registry: Registry, wiretap: Wiretap, client: Client, second: Path, delay: float
) -> None:
    old = read_tips(registry, NAME)["main"]
    push = client.start("push", second, NAME, "-m", "Second")
    wait_for(_large_object_appears(registry), limit=30, what="the upload")
    strike(after(delay), registry.kill).join()
    push.kill()
    client.finish(push)
    verify_recovery(
        registry, wiretap, client, second, old=old, arrived=bytes_that_arrived(registry)
    )


def verify_recovery(
    registry: Registry,
    wiretap: Wiretap,
    client: Client,
    folder: Path,
    *,
    old: str | None,
    arrived: int,
) -> None:
    registry.start()
    tip = read_tips(registry, NAME)["main"]
    log = read_log(registry, NAME)
    assert log == ([old] if tip == old else [tip, old])
    wiretap.reset()
    again = client.facts("push", folder, NAME, "-m", "Second")
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert wiretap.sent <= max(0, total - arrived) + SLACK
    assert again["bytes_sent"] <= wiretap.sent
    assert again["new"] == (tip == old)
    assert len(read_log(registry, NAME)) == 2
    verify_pull(registry, NAME, folder, client.home / "fresh")
    assert registry.incoming() == []


def test_push_and_pull_ride_through_cut_connections(
    registry: Registry, wiretap: Wiretap, client: Client, make_client: MakeClient, second: Path
) -> None:
    push = client.start("push", second, NAME, "-m", "Second", "--json")
    strike(sent(wiretap, SIZE // 2), wiretap.cut).join()
    outcome = client.finish(push)
    assert outcome.status == 0, outcome
    assert read_tips(registry, NAME)["main"] == outcome.facts()["commit"]
    wiretap.reset()
    pull = client.start("pull", NAME, "--json")
    strike(received(wiretap, SIZE // 2), wiretap.cut).join()
    outcome = client.finish(pull)
    assert outcome.status == 0, outcome
    assert digest_tree(Path(outcome.facts()["path"])) == digest_tree(second)
    assert wiretap.received < 2 * SIZE


def test_registry_that_is_away_is_said_to_be(
    client: Client, registry: Registry, first: Path
) -> None:
    registry.kill()
    error = client.refusal("pull", NAME)
    assert error["kind"] == "registry-unreachable"
    assert "plait-registry serve" in error["message"]
    assert client.refusal("push", first, NAME, "-m", "X")["kind"] == "registry-unreachable"


@pytest.mark.parametrize("point", ["half", "verification"])
def test_registry_told_to_stop_leaves_the_old_state_or_the_new_one(
    registry: Registry, wiretap: Wiretap, client: Client, second: Path, point: str
) -> None:
    old = read_tips(registry, NAME)["main"]
    moment = sent(wiretap, SIZE // 2) if point == "half" else _large_object_appears(registry)
    push = client.start("push", second, NAME, "-m", "Second", "--json")
    wait_for(moment, limit=30, what="the upload")
    assert registry.stop() == 0
    push.kill()
    client.finish(push)
    assert not (registry.data / "server.json").exists()
    registry.start()
    assert read_log(registry, NAME)[-1] == old
    client.run("push", second, NAME, "-m", "Second")
    assert len(read_log(registry, NAME)) == 2
    verify_pull(registry, NAME, second, client.home / "fresh")


def test_second_registry_on_the_same_data_is_refused(
    registry: Registry, make_registry: MakeRegistry
) -> None:
    with pytest.raises(RuntimeError, match="Another plait-registry is using"):
        make_registry(registry.data)
