"""Commands that are killed (SIGKILL) at one change of the disk after another.

The process kills itself before the change of a given number, so that every point is met. Whatever
it leaves, `status` tells what it is, nothing that was not committed is lost, and the same command
completes it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person
from copies.workshop import WEIGHTS, read_tree

pytestmark = pytest.mark.slow

_DYING = """
import os, signal, sys
from plait.cli.main import main

left = int(sys.argv[1])
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}

def die(event, arguments):
    global left
    is_write = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
    if event in CHANGES or is_write:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
sys.exit(main(sys.argv[2:]))
"""
STEP = 3
"""Changes from one point of death to the next; each takes the start of a process."""


def is_killed(person: Person, number: int, *words: str) -> bool:
    """Run `plait`, killed before the change of that number; tell whether it came to that."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", _DYING, str(number), *words],
        cwd=person.folder,
        env={**os.environ, **person.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode not in {0, -signal.SIGKILL}:
        pytest.fail(f"plait {words}: status {done.returncode}\n{done.stderr}")
    return done.returncode != 0


def verify_explained(person: Person, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Check that the folder is as before or as after, or that `status` says how to go on."""
    interrupted = person.ask("status")["interrupted"]
    files = read_tree(person.folder)
    if interrupted is None:
        assert files in (before, after)
        return
    assert "Run it again" in interrupted
    assert interrupted in person.run("status")
    assert "Run it again" in person.fail("commit", "-m", "half of it")
    # Each file is that of before or that of after, never a torn one.
    for path, data in files.items():
        assert data in (before.get(path), after.get(path))


def write(person: Person, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = person.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def test_killed_switch_is_explained_and_completed_by_the_same_command(tmp_path: Path) -> None:
    ada = Person(tmp_path)
    ada.run("init")
    write(ada, {"gone/a.md": "a", "gone/b.md": "b", "both.md": "1", "same.md": "1"})
    ada.commit(1)
    ada.run("switch", "-c", "side")
    (ada.folder / "gone" / "a.md").unlink()
    (ada.folder / "gone" / "b.md").unlink()
    write(ada, {"new/c.md": "c", "new/d/e.md": "e", "both.md": "2"})
    ada.commit(2)
    # Neither an edit that both versions share the file of nor a new file may be touched.
    write(ada, {"same.md": "edited", "untracked.md": "mine"})
    theirs = read_tree(tmp_path)
    ada.run("switch", "main")
    mine = read_tree(tmp_path)
    killed = 0
    while is_killed(ada, STEP * killed, "switch", "side"):
        killed += 1
        verify_explained(ada, mine, theirs)
        ada.run("switch", "side")
        assert read_tree(tmp_path) == theirs
        assert ada.ask("status")["branch"] == "side"
        ada.run("switch", "main")
        assert read_tree(tmp_path) == mine
    assert read_tree(tmp_path) == theirs
    assert killed > 5


@pytest.fixture
def name(repository_name: Callable[[], str]) -> str:
    return repository_name()


@pytest.fixture
def ada(registry_server: Any, tmp_path: Path, name: str) -> Person:
    person = make_person(registry_server, tmp_path / "ada")
    person.run("repo", "create", name)
    person.run("init", "--remote", name)
    write(person, {"README.md": "0"})
    person.commit(0)
    person.run("push")
    return person


def test_killed_pull_is_explained_and_completed_by_the_same_command(
    registry_server: Any, tmp_path: Path, name: str, ada: Person
) -> None:
    bob = make_person(registry_server, tmp_path / "bob")
    bob.folder.rmdir()
    bob.at(tmp_path).run("clone", name, "bob")
    killed = 0
    for version in range(1, 60):
        mine = read_tree(bob.folder)
        write(ada, {"README.md": str(version)})
        new = ada.commit(version)
        ada.run("push")
        theirs = read_tree(ada.folder)
        if not is_killed(bob, STEP * killed, "pull"):
            break
        killed += 1
        verify_explained(bob, mine, theirs)
        assert bob.ask("pull")["new"] == new
        assert read_tree(bob.folder) == theirs
    assert read_tree(bob.folder) == theirs
    assert killed > 5


def test_killed_clone_is_completed_by_the_same_command(
    registry_server: Any, tmp_path: Path, name: str, ada: Person
) -> None:
    theirs = read_tree(ada.folder)
    carl = make_person(registry_server, tmp_path / "carl")
    killed = 0
    while is_killed(carl, STEP * killed, "clone", name, f"copy-{killed}"):
        carl.run("clone", name, f"copy-{killed}")
        inside = carl.folder / f"copy-{killed}"
        assert read_tree(inside) == theirs
        assert Person(inside).ask("status")["clean"]
        killed += 1
    assert read_tree(carl.folder / f"copy-{killed}") == theirs
    assert killed > 5


def test_killed_commit_leaves_the_old_version_or_the_new_one(tmp_path: Path) -> None:
    ada = Person(tmp_path)
    ada.run("init")
    old = ada.commit(0)
    killed = 0
    for value in range(1, 60):
        ada.train(value)
        weights = (tmp_path / WEIGHTS).read_bytes()
        if not is_killed(ada, STEP * killed, "commit", "-m", "x"):
            break
        killed += 1
        assert (tmp_path / WEIGHTS).read_bytes() == weights
        assert ada.ask("status")["interrupted"] is None
        if ada.head() == old:
            ada.run("commit", "-m", "again")
        assert ada.ask("status")["clean"]
        old = ada.head()
    assert killed > 3
