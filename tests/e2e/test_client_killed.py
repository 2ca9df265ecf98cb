"""The client is killed (SIGKILL) in the middle of a push or a pull, and run again.

The second run completes, goes on where the first one was, and no folder or file under its final
name was ever anything but whole.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import MakeClient
from e2e.crash import MIB, SLACK, Moment, received, sent
from e2e.made_adapters import WEIGHTS, write_large_adapter
from e2e.programs import Client, Registry, digest_tree, read_refusal, wait_for
from e2e.wiretap import Wiretap, tap

pytestmark = pytest.mark.slow

SIZE = 66 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "adapter"
    write_large_adapter(path, mebibytes=66, seed=2)
    for number in range(12):
        (path / f"notes-{number:02}.txt").write_text(f"note {number}\n" * 1000, encoding="utf-8")
    return path


@pytest.fixture
def wiretap(registry: Registry) -> Iterator[Wiretap]:
    with tap(registry.port) as running:
        yield running


@pytest.fixture
def person(client: Client, wiretap: Wiretap) -> Client:
    """The client, through a relay that counts."""
    client.via = wiretap.url
    return client


def test_push_that_was_killed_is_gone_on_with(
    person: Client, wiretap: Wiretap, name: str, tmp_path: Path
) -> None:
    # Bytes of this test's own, so that nobody else's push has brought them already.
    folder = write_large_adapter(tmp_path / "adapter", mebibytes=66, seed=3)
    person.run("repo", "create", name)
    before = _count_parts(person.registry)
    wiretap.reset()
    moments = (sent(wiretap, SIZE // 3), lambda: _count_parts(person.registry) > before)
    for moment in moments:
        push = person.start("push", folder, name, "-m", "First")
        wait_for(moment, limit=30, what="bytes")
        push.kill()
        person.finish(push)
        assert person.facts("branch", name)["branches"] == []
    wiretap.reset()
    pushed = person.facts("push", folder, name, "-m", "First")
    assert pushed["bytes_sent"] <= wiretap.sent < SIZE * 0.8
    assert person.facts("branch", name)["branches"][0]["commit"] == pushed["commit"]


def test_push_that_was_interrupted_says_so_and_ends_soon(
    person: Client, wiretap: Wiretap, name: str, tmp_path: Path
) -> None:
    # So large that a busy machine cannot end the push between two looks at it.
    folder = write_large_adapter(tmp_path / "adapter", mebibytes=260, seed=4)
    person.run("repo", "create", name)
    wiretap.reset()
    push = person.start("push", folder, name, "-m", "First")
    wait_for(sent(wiretap, SIZE // 20), limit=30, what="bytes")
    push.send_signal(signal.SIGINT)
    outcome = person.finish(push, limit=10)
    assert (outcome.status, outcome.out) == (130, "")
    assert "interrupted" in outcome.err
    assert person.facts("branch", name)["branches"] == []
    person.run("push", folder, name, "-m", "First")


def test_file_that_changes_while_it_is_pushed_is_noticed(
    person: Client, wiretap: Wiretap, name: str, tmp_path: Path
) -> None:
    folder = write_large_adapter(tmp_path / "adapter", mebibytes=66, seed=5)
    person.run("repo", "create", name)
    wiretap.reset()
    push = person.start("push", folder, name, "-m", "First", "--json")
    wait_for(sent(wiretap, 1), limit=30, what="the end of hashing")
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(-2, 2)
        file.write(b"\x12\x34")
    outcome = person.finish(push)
    assert outcome.status == 1
    # In one piece the client finds it; in parts, each of which is right by itself, the registry.
    assert read_refusal(outcome)["kind"] in {"file-changed", "digest-mismatch"}
    assert person.facts("branch", name)["branches"] == []
    person.run("push", folder, name, "-m", "As it is now")
    path = Path(person.run("pull", name).strip())
    assert digest_tree(path) == digest_tree(folder)


def test_pull_that_was_killed_is_gone_on_with(
    person: Client, wiretap: Wiretap, name: str, folder: Path
) -> None:
    pushed = person.facts("push", folder, name, "-m", "First", "--create")
    version = person.cache / "versions" / pushed["manifest"]
    wiretap.reset()
    for moment in (received(wiretap, SIZE // 3), lambda: _count_ranges(person.cache) > 0):
        pull = person.start("pull", name)
        wait_for(moment, limit=30, what="bytes")
        pull.kill()
        person.finish(pull)
        assert not version.exists()
    wiretap.reset()
    pulled = person.facts("pull", name)
    assert pulled["bytes_received"] <= wiretap.received < SIZE * 0.8
    assert digest_tree(Path(pulled["path"])) == digest_tree(folder)


def _count_parts(registry: Registry) -> int:
    """Return how many parts of objects have arrived and stay when their sender is killed."""
    return sum(path.name.startswith("part-") for path in registry.incoming())


def _count_ranges(cache: Path) -> int:
    """Return how many ranges of files have arrived and stay when the receiver is killed."""
    return sum(path.read_text("ascii").count("\n") - 1 for path in cache.rglob("*.ranges"))


def test_version_is_never_seen_before_it_is_whole(
    client: Client, name: str, folder: Path, make_client: MakeClient
) -> None:
    """Pulls are killed around the assembly of the folder while somebody watches its name."""
    pushed = client.facts("push", folder, name, "-m", "First", "--create")
    files = {path.name for path in folder.iterdir()}
    person = make_client()
    cache = person.cache
    version = cache / "versions" / pushed["manifest"]
    partial: list[set[str]] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            if version.exists():
                found = {path.name for path in version.iterdir()}
                if found != files:
                    partial.append(found)
            time.sleep(0.0002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(6):
            pull = person.start("pull", name)
            moment = _or_its_end(pull, lambda: _is_assembling(cache))
            wait_for(moment, limit=60, what="the assembly")
            time.sleep(number * 0.0007)
            pull.kill()
            person.finish(pull)
        path = Path(person.run("pull", name).strip())
    finally:
        is_over.set()
        watcher.join(5)
    assert partial == []
    assert digest_tree(path) == digest_tree(folder)


def _or_its_end(process: subprocess.Popen[str], moment: Moment) -> Moment:
    return lambda: process.poll() is not None or moment()


def _is_assembling(cache: Path) -> bool:
    versions = cache / "versions"
    return versions.exists() and any(path.name.startswith(".new-") for path in versions.iterdir())


def test_copy_that_was_killed_leaves_no_half_file(client: Client, name: str, folder: Path) -> None:
    client.run("push", folder, name, "-m", "First", "--create")
    destination = client.home / "copy"
    expected = digest_tree(folder)
    for number in range(4):
        pull = client.start("pull", name, destination, "--force")
        wait_for(_or_its_end(pull, destination.exists), limit=60, what="the copy")
        time.sleep(number * 0.01)
        pull.kill()
        client.finish(pull)
        for path in [destination / WEIGHTS, *destination.glob("notes-*.txt")]:
            if path.exists():
                assert path.read_bytes() == expected[path.name]
    client.run("pull", name, destination, "--force")
    found = digest_tree(destination)
    assert {key: found[key] for key in expected} == expected


def test_clone_that_was_killed_is_gone_on_with(
    person: Client, wiretap: Wiretap, name: str, folder: Path
) -> None:
    person.run("push", folder, name, "-m", "First", "--create")
    copy = person.home / "work"
    for share in (0.2, 0.6):
        wiretap.reset()
        clone = person.start("clone", name, copy)
        wait_for(received(wiretap, int(SIZE * share)), limit=30, what="bytes")
        clone.kill()
        person.finish(clone)
    wiretap.reset()
    person.run("clone", name, copy)
    assert wiretap.received < SIZE + SLACK
    assert digest_tree(copy, skip=frozenset({".plait"})) == digest_tree(folder)
    assert person.facts("status", cwd=copy)["clean"]
