"""`plait events` and `plait webhook`, against a server that delivers by itself."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person
from plait.webhooks import is_signed
from reference.scripted_server import Answer, ScriptedServer, serve

LIMIT = 30.0


class Server:
    """A registry in a process of its own."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token


@pytest.fixture(scope="module")
def delivering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A registry that may send to this machine."""
    data = tmp_path_factory.mktemp("registry") / "data"
    program = Path(sys.executable).with_name("plait-registry")
    environ = {"PLAIT_WEBHOOK_ALLOW_PRIVATE": "1", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [program, "serve", "--data", data, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on "), line
            url = line.removeprefix("listening on ").strip()
            yield Server(url, (data / "admin.token").read_text("utf-8").strip())
        finally:
            process.terminate()
            assert process.wait(LIMIT) == 0


@pytest.fixture
def name(repository_name: Callable[[], str]) -> str:
    return repository_name()


@pytest.fixture
def ada(delivering: Server, tmp_path: Path, name: str) -> Person:
    """Somebody who pushed a version."""
    person = make_person(delivering, tmp_path / "ada")
    person.train(1)
    person.run("push", ".", name, "-m", "first", "--create")
    return person


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    with serve(Answer(204, b"")) as opened:
        yield opened


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_tell_what_was_pushed_tagged_and_deleted(ada: Person, name: str) -> None:
    ada.run("tag", name, "v1")
    ada.run("branch", name, "fix")
    ada.run("branch", "-d", name, "fix")
    events = read_lines(ada.run("events", name, "--json"))
    assert [event["kind"] for event in events] == [
        "repository.created",
        "push",
        "ref.created",
        "ref.created",
        "ref.deleted",
    ]
    push = events[1]["details"]
    assert (push["kind"], push["ref"], push["old"], push["commits"]) == ("branch", "main", None, 1)
    assert events[2]["details"] == {"kind": "tag", "ref": "v1", "new": push["new"]}


def test_events_are_shown_as_lines_and_go_on_after_one(ada: Person, name: str) -> None:
    lines = ada.run("events", name).splitlines()
    assert [line.split()[2] for line in lines] == ["repository.created", "push"]
    first = lines[0].split()[0]
    assert ada.run("events", name, "--after", first).splitlines() == lines[1:]
    assert ada.run("events", name, "-n", "1").splitlines() == lines[:1]
    assert ada.run("events", name, "--kind", "push").splitlines() == lines[1:]


def test_wrong_arguments_of_events_are_refused(ada: Person) -> None:
    assert "above 0" in ada.fail("events", "-n", "0", status=2)
    assert "cursor" in ada.fail("events", "--after", "yesterday")


def test_follow_prints_each_event_as_it_happens(ada: Person, name: str) -> None:
    first = ada.run("events", name).split()[0]
    command = [sys.executable, "-m", "plait.cli.main", "events", name, "--follow", "--json"]
    with subprocess.Popen(
        [*command, "--after", first, "-n", "2"],
        stdout=subprocess.PIPE,
        env={**os.environ, **ada.environment},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "push"
        ada.run("tag", name, "v1")
        assert json.loads(process.stdout.readline())["details"]["ref"] == "v1"
        assert process.wait(LIMIT) == 0


def test_webhook_from_making_to_deleting(ada: Person, name: str, receiver: ScriptedServer) -> None:
    made = ada.ask("webhook", "create", name, receiver.url, "--kind", "ref.created")
    key, secret = made["webhook"]["id"], made["secret"]
    ada.run("tag", name, "v1")
    wait_until(lambda: len(receiver.received) == 1)
    [received] = receiver.received
    headers = received.headers
    assert is_signed(
        secret, headers["x-plait-timestamp"], received.body, headers["x-plait-signature-256"]
    )
    assert json.loads(received.body)["details"]["ref"] == "v1"
    wait_until(lambda: "delivered" in ada.run("webhook", "deliveries", key))
    [delivery] = ada.ask("webhook", "deliveries", key)["deliveries"]
    assert f"{delivery['id']} is pending" in ada.run("webhook", "redeliver", delivery["id"])
    wait_until(lambda: len(receiver.received) == 2)
    assert receiver.received[1].headers["x-plait-delivery"] == delivery["id"]
    assert "ref.created" in ada.run("webhook", "list", name)
    assert ada.ask("webhook", "update", key, "--all-kinds", "--off")["kinds"] == []
    assert "off" in ada.run("webhook", "show", key)
    ada.run("tag", name, "v2")
    assert len(ada.ask("webhook", "deliveries", key)["deliveries"]) == 1
    assert ada.run("webhook", "delete", key) == f"Deleted webhook {key}\n"
    assert ada.ask("webhook", "list", name)["webhooks"] == []


def test_secret_is_printed_when_a_webhook_is_made_and_never_again(ada: Person, name: str) -> None:
    lines = ada.run("webhook", "create", name, "https://ci.example.org/").splitlines()
    key, secret = (line.split()[1] for line in lines)
    for command in (("show", key), ("list", name)):
        assert secret not in ada.run("webhook", *command, "--json")


def test_wrong_arguments_of_webhook_are_refused(ada: Person, name: str) -> None:
    assert "URL" in ada.fail("webhook", "create", name, status=2)
    assert "URL" in ada.fail("webhook", "show", "wh1", "https://ci.example.org/", status=2)
    assert "above 0" in ada.fail("webhook", "deliveries", "wh1", "-n", "0", status=2)
    assert "no webhook" in ada.fail("webhook", "show", "wh1")
