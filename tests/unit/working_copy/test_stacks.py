"""Stacks in a working copy: versions without weights and without an adapter's config."""

import pytest

from copies.workshop import Workshop, weight_bytes
from plait.errors import InvalidInput
from plait.model.commit import Base
from plait.model.ids import CommitId
from plait.working_copy.commit import NewCommit, commit_folder
from plait.working_copy.revert import RevertRequest, revert
from reference.stacks import STACK

FILE = "stack.json"


@pytest.fixture
def stacked(workshop: Workshop) -> Workshop:
    """A working copy whose first version is a stack."""
    workshop.write({FILE: STACK.to_bytes()})
    commit(workshop)
    return workshop


def commit(workshop: Workshop) -> CommitId:
    new = NewCommit("a stack", workshop.authorship(), base=Base("micro/base"))
    return commit_folder(workshop.copy, new).id


def test_first_stack_needs_a_base_by_name(workshop: Workshop) -> None:
    workshop.write({FILE: STACK.to_bytes()})
    with pytest.raises(InvalidInput, match=rf"{FILE} does not name the base") as caught:
        workshop.commit()
    assert caught.value.kind == "base-unknown"


def test_next_version_of_a_stack_keeps_its_base(stacked: Workshop) -> None:
    stacked.write({"README.md": b"what it is for"})
    second = stacked.commit()
    assert stacked.copy.get_commit(second).base == Base("micro/base")


def test_change_of_a_stack_is_taken_back(stacked: Workshop) -> None:
    stacked.write({"README.md": b"what it is for"})
    stacked.commit()
    revert(stacked.copy, RevertRequest("HEAD", stacked.authorship()))
    assert stacked.files() == {FILE: STACK.to_bytes()}


def test_joined_version_that_is_a_stack_with_weights_is_refused(stacked: Workshop) -> None:
    stacked.train(1)
    second = stacked.commit()
    stacked.write({"extra/other.safetensors": weight_bytes(2)})
    stacked.commit()
    before = stacked.files()
    with pytest.raises(InvalidInput, match="A stack holds no weights") as caught:
        revert(stacked.copy, RevertRequest(second, stacked.authorship()))
    assert caught.value.kind == "invalid-stack"
    assert stacked.files() == before
