"""A working copy against a model of it: edits, commits, switches and reverts in any order.

The model knows what is in each commit and in the folder. Each command must do exactly what the
model says, or refuse exactly where something that is in no commit would be lost, and then change
nothing.
"""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from copies.workshop import CONFIG, WEIGHTS, Workshop, weight_bytes
from plait.errors import Conflict
from plait.model.ids import CommitId
from plait.working_copy.revert import RevertRequest, revert
from plait.working_copy.status import read_status
from plait.working_copy.switch import create_and_switch, detach, switch

# It runs in seconds; making a failure small takes minutes.
pytestmark = pytest.mark.timeout(600)

Tree = dict[str, bytes]

names = st.sampled_from(["a.md", "b.md", "deep/c.md", "deep/er/d.md"])
texts = st.sampled_from([b"1", b"2", b"3"])


class WorkingCopyMachine(RuleBasedStateMachine):
    """Somebody who works in one folder."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.workshop = Workshop(self.root / "copy")
        self.trees: dict[CommitId, Tree] = {}
        self.parents: dict[CommitId, CommitId] = {}
        self.branches: dict[str, CommitId] = {}
        # Two branches that differ in every way, so that a switch has much to lose from the start.
        self.workshop.write({"a.md": b"1", "deep/c.md": b"1"})
        self.make_branch("main", 1)
        create_and_switch(self.workshop.copy, "side")
        self.workshop.write({"a.md": b"2", "deep/c.md": None, "deep/er/d.md": b"1"})
        self.make_branch("side", 2)
        self.parents[self.branches["side"]] = self.branches["main"]
        self.branch: str | None = "side"
        self.head = self.branches["side"]
        self.folder = self.workshop.files()

    def make_branch(self, name: str, value: int) -> None:
        """Commit on a branch that is checked out."""
        self.branches[name] = self.workshop.train_and_commit(value)
        self.trees[self.branches[name]] = self.workshop.files()

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def advance(self, commit: CommitId, tree: Tree) -> None:
        """Note a new commit on what is checked out."""
        self.parents[commit] = self.head
        self.trees[commit] = dict(tree)
        self.head = commit
        if self.branch is not None:
            self.branches[self.branch] = commit

    def find_endangered(self, target: Tree) -> set[str]:
        """Return the files that are in no commit and in the way of `target`."""
        before = self.trees[self.head]
        return {
            path
            for path in before.keys() | target.keys()
            if before.get(path) != target.get(path)
            and path in self.folder
            and self.folder[path] not in (before.get(path), target.get(path))
        }

    def move(self, target: Tree, *, discard_changes: bool) -> None:
        """Let the folder become `target`, but for changes that come along."""
        before = self.trees[self.head]
        for path in before.keys() | target.keys():
            if discard_changes or before.get(path) != target.get(path):
                self.folder.pop(path, None)
                if path in target:
                    self.folder[path] = target[path]

    @rule(path=names, text=texts)
    def write_by_hand(self, path: str, text: bytes) -> None:
        self.workshop.write({path: text})
        self.folder[path] = text

    @rule(value=st.integers(1, 3))
    def train(self, value: int) -> None:
        self.workshop.write({WEIGHTS: weight_bytes(value)})
        self.folder[WEIGHTS] = weight_bytes(value)

    @rule(data=st.data())
    def remove_by_hand(self, data: st.DataObject) -> None:
        removable = sorted(self.folder.keys() - {CONFIG, WEIGHTS})
        if removable:
            path = data.draw(st.sampled_from(removable))
            self.workshop.write({path: None})
            del self.folder[path]

    @rule()
    def commit(self) -> None:
        if self.folder == self.trees[self.head]:
            with pytest.raises(Conflict) as caught:
                self.workshop.commit()
            assert caught.value.kind == "nothing-to-commit"
        else:
            self.advance(self.workshop.commit(), self.folder)

    @precondition(lambda self: "new" not in self.branches)
    @rule()
    def branch_off(self) -> None:
        create_and_switch(self.workshop.copy, "new")
        self.branches["new"], self.branch = self.head, "new"

    @rule(data=st.data(), discard_changes=st.sampled_from([False, False, True]))
    def switch_to_branch(self, data: st.DataObject, *, discard_changes: bool) -> None:
        others = [name for name in sorted(self.branches) if discard_changes or name != self.branch]
        name = data.draw(st.sampled_from(others))
        target = self.branches[name]
        endangered = self.find_endangered(self.trees[target])
        if endangered and not discard_changes:
            with pytest.raises(Conflict) as caught:
                switch(self.workshop.copy, name)
            assert set(caught.value.details["files"]) == endangered
            return
        switch(self.workshop.copy, name, discard_changes=discard_changes)
        self.move(self.trees[target], discard_changes=discard_changes)
        self.head, self.branch = target, name

    @rule(data=st.data())
    def look_at_a_commit(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(sorted(self.trees)))
        if self.find_endangered(self.trees[target]):
            with pytest.raises(Conflict):
                detach(self.workshop.copy, target)
            return
        detach(self.workshop.copy, target)
        self.move(self.trees[target], discard_changes=False)
        self.head, self.branch = target, None

    @precondition(lambda self: self.head in self.parents)
    @rule()
    def take_back_the_last_commit(self) -> None:
        target = self.trees[self.parents[self.head]]
        request = RevertRequest("HEAD", self.workshop.authorship())
        if self.find_endangered(target):
            with pytest.raises(Conflict) as caught:
                revert(self.workshop.copy, request)
            assert caught.value.kind == "uncommitted-changes"
            return
        made = revert(self.workshop.copy, request)
        self.move(target, discard_changes=False)
        self.advance(made.id, target)

    @invariant()
    def folder_is_as_the_model_says(self) -> None:
        assert self.workshop.files() == self.folder

    @invariant()
    def status_tells_the_difference(self) -> None:
        status = read_status(self.workshop.copy)
        tracked = self.trees[self.head]
        assert (status.head.branch, status.commit) == (self.branch, self.head)
        assert set(status.added) == self.folder.keys() - tracked.keys()
        assert set(status.deleted) == tracked.keys() - self.folder.keys()
        assert set(status.modified) == {
            path for path, data in self.folder.items() if tracked.get(path, data) != data
        }
        assert status.interrupted is None

    @invariant()
    def branches_are_where_the_model_says(self) -> None:
        assert dict(self.workshop.copy.read_refs().branches) == self.branches


TestWorkingCopy = WorkingCopyMachine.TestCase
TestWorkingCopy.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
