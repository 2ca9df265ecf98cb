"""A switch or revert that is killed at every change of the file system that it makes."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from copies.killing import survives
from copies.workshop import CONFIG, WEIGHTS, Workshop, read_tree, weight_bytes
from plait.errors import Conflict, Integrity
from plait.working_copy.branch import delete_branch, rename_branch
from plait.working_copy.commit import NewCommit, commit_folder
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.journal import find_interrupted
from plait.working_copy.revert import RevertRequest, revert
from plait.working_copy.status import read_status
from plait.working_copy.switch import create_and_switch, detach, switch


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    """`other` is checked out, and differs from `main` in every way that files can."""
    workshop.train(1)
    workshop.write({"gone.txt": b"g", "x": b"a file", "same.txt": b"s"})
    workshop.commit("one")
    create_and_switch(workshop.copy, "other")
    workshop.train(2)
    workshop.write({"gone.txt": None, "x": None})
    workshop.write({"x/y": b"below", "new/new.txt": b"n"})
    workshop.commit("two")
    return workshop


def run_killed_everywhere(
    template: Path, work: Callable[[WorkingCopy], object], check: Callable[[WorkingCopy], None]
) -> int:
    """Kill `work` at each point, on a fresh copy each time; return how many points there are."""
    number = 0
    while True:
        folder = template.with_name(f"run-{number}")
        shutil.copytree(template, folder, symlinks=True)
        is_through = survives(partial(work, WorkingCopy.find(folder)), number)
        check(WorkingCopy.find(folder))
        if is_through:
            return number
        number += 1


def test_switch_that_is_killed_anywhere_is_explained_and_completed(two: Workshop) -> None:
    switch(two.copy, "main")
    wanted = two.files()
    switch(two.copy, "other")
    two.write({"same.txt": b"uncommitted"})
    wanted["same.txt"] = b"uncommitted"
    interrupted = 0

    def check(copy: WorkingCopy) -> None:
        nonlocal interrupted
        status = read_status(copy)
        interrupted += status.interrupted is not None
        if status.interrupted is not None:
            assert "plait switch main" in str(status.to_json()["interrupted"])
        assert read_tree(copy.root)["same.txt"] == b"uncommitted"
        switch(WorkingCopy.find(copy.root), "main")
        assert read_tree(copy.root) == wanted
        assert read_status(copy).modified == ("same.txt",)
        assert copy.read_head().branch == "main"
        assert find_interrupted(copy.layout) is None
        assert not list(copy.layout.incoming.iterdir())

    points = run_killed_everywhere(two.folder, lambda copy: switch(copy, "main"), check)
    assert points > 8
    assert interrupted >= 5


def test_going_back_after_a_killed_switch_is_possible(two: Workshop) -> None:
    wanted = two.files()

    def check(copy: WorkingCopy) -> None:
        switch(copy, "other")
        assert read_tree(copy.root) == wanted
        assert read_status(copy).is_clean

    run_killed_everywhere(two.folder, lambda copy: switch(copy, "main"), check)


def test_revert_that_is_killed_anywhere_reverts_once(two: Workshop) -> None:
    head = two.copy.resolve("HEAD")
    request = RevertRequest("HEAD", two.authorship())

    def check(copy: WorkingCopy) -> None:
        if read_status(copy).interrupted is not None or copy.resolve("HEAD") == head:
            revert(WorkingCopy.find(copy.root), request)
        assert copy.graph.load([copy.resolve("HEAD")])[copy.resolve("HEAD")].parents == (head,)
        assert read_tree(copy.root)["x"] == b"a file"
        assert read_status(copy).is_clean

    run_killed_everywhere(two.folder, lambda copy: revert(copy, request), check)


@pytest.fixture
def interrupted(two: Workshop) -> Workshop:
    """`switch main` was killed between two files."""
    for number in range(30):
        folder = two.folder.with_name(f"copy-{number}")
        shutil.copytree(two.folder, folder)
        survives(partial(switch, WorkingCopy.find(folder), "main"), number)
        tree = read_tree(folder)
        if tree.get(CONFIG) and "new/new.txt" not in tree and tree[WEIGHTS] == weight_bytes(2):
            two.folder = folder
            return two
    pytest.fail("no such point")


def test_other_changes_wait_until_the_interrupted_one_is_complete(interrupted: Workshop) -> None:
    copy = interrupted.copy
    for change in (
        lambda: commit_folder(copy, NewCommit("m", interrupted.authorship())),
        lambda: delete_branch(copy, "main", force=True),
        lambda: rename_branch(copy, None, "renamed"),
    ):
        with pytest.raises(Conflict, match="plait switch main") as caught:
            change()
        assert caught.value.kind == "operation-interrupted"
    detach(interrupted.copy, "other")
    assert read_status(interrupted.copy).is_clean


def test_file_that_was_changed_after_the_interruption_is_kept(interrupted: Workshop) -> None:
    interrupted.write({WEIGHTS: weight_bytes(9)})
    with pytest.raises(Conflict) as caught:
        switch(interrupted.copy, "main")
    assert caught.value.kind == "uncommitted-changes"
    assert interrupted.files()[WEIGHTS] == weight_bytes(9)
    switch(interrupted.copy, "main", discard_changes=True)
    assert read_status(interrupted.copy).is_clean


@pytest.mark.parametrize("text", ["[]", "{}", '{"files": 3}'])
def test_damaged_journal_is_an_integrity_error(workshop: Workshop, text: str) -> None:
    workshop.copy.layout.journal.write_text(text)
    with pytest.raises(Integrity):
        read_status(workshop.copy)
