"""`plait fetch --repair`: whatever the remote has can be had again, so no advice is a dead end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person


@pytest.fixture
def bob(registry_server: Any, repository_name: Callable[[], str], tmp_path: Path) -> Person:
    """Somebody with a clone of three versions."""
    name = repository_name()
    ada = make_person(registry_server, tmp_path / "ada")
    ada.run("repo", "create", name)
    ada.run("init", "--remote", name)
    for value in (1, 2, 3):
        ada.commit(value)
    ada.run("push")
    bob = make_person(registry_server, tmp_path / "bob")
    bob.folder.rmdir()
    bob.at(tmp_path).run("clone", name, "bob")
    return bob


def list_objects(person: Person) -> list[Path]:
    return [
        path
        for path in sorted((person.folder / ".plait" / "objects").rglob("*"))
        if len(path.name) == 64
    ]


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [damage, remove])
def test_every_object_can_be_had_again(bob: Person, spoil: Callable[[Path], None]) -> None:
    log, objects = bob.ask("log"), {path: path.read_bytes() for path in list_objects(bob)}
    for path in objects:
        spoil(path)
    assert "fetch --repair" in bob.fail("status")
    assert bob.ask("fetch", "--repair")["commits"] == 0
    assert {path: path.read_bytes() for path in list_objects(bob)} == objects
    assert (bob.ask("log"), bob.ask("status")["clean"]) == (log, True)
    bob.run("switch", "--detach", "main~2")


def test_repair_leaves_what_was_never_pushed(bob: Person) -> None:
    own = bob.commit(4)
    assert bob.ask("fetch", "--repair") == {"commits": 0, "bytes_received": 0, "refs": []}
    assert bob.ask("log")["commits"][0]["id"] == own
