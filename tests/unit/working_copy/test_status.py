import pytest

from copies.workshop import CONFIG, WEIGHTS, Workshop, weight_bytes
from plait.errors import InvalidInput
from plait.model.refs import RefKind, RefName
from plait.working_copy.divergence import Divergence, find_divergence
from plait.working_copy.refs import write_refs
from plait.working_copy.status import read_status
from plait.working_copy.switch import create_and_switch, switch

MAIN = RefName("main")


def test_new_working_copy_lists_what_a_commit_would_take(workshop: Workshop) -> None:
    workshop.train(1)
    status = read_status(workshop.copy)
    assert status.added == (CONFIG, WEIGHTS)
    assert status.commit is None
    assert not status.is_clean


def test_every_kind_of_change_is_told(workshop: Workshop) -> None:
    workshop.train(1)
    workshop.write({"a.txt": b"a", "b.txt": b"b"})
    workshop.commit()
    assert read_status(workshop.copy).is_clean
    workshop.write({"a.txt": None, "b.txt": b"changed", "c.txt": b"new", "model.bin": b"pickle"})
    status = read_status(workshop.copy)
    assert (status.added, status.modified, status.deleted) == (
        ("c.txt", "model.bin"),
        ("b.txt",),
        ("a.txt",),
    )
    assert status.refused == ("model.bin",)
    document = status.to_json()
    assert document["deleted"] == ["a.txt"]
    assert document["clean"] is False


def test_truncated_weights_are_a_change_and_no_failure(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.write({WEIGHTS: weight_bytes(1)[:-3]})
    assert read_status(workshop.copy).modified == (WEIGHTS,)


def test_rewritten_file_with_the_same_bytes_is_no_change(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.train(1)
    assert read_status(workshop.copy).is_clean


def test_link_in_the_folder_is_an_error_that_names_it(workshop: Workshop) -> None:
    (workshop.folder / "link").symlink_to("x")
    with pytest.raises(InvalidInput, match="link"):
        read_status(workshop.copy)


def test_status_reads_while_another_command_writes(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    with workshop.copy.changing():
        assert read_status(workshop.copy).is_clean


def test_branch_is_compared_with_the_remotes(workshop: Workshop) -> None:
    first = workshop.train_and_commit(1)
    assert read_status(workshop.copy).divergence is None
    copy = workshop.copy
    write_refs(copy.layout, copy.read_refs().with_remote(RefKind.BRANCH, MAIN, first))
    assert read_status(copy).divergence == Divergence(MAIN, 0, 0)
    workshop.train_and_commit(2)
    theirs = workshop.train_and_commit(3)
    create_and_switch(workshop.copy, "other", start="main~1")
    copy = workshop.copy
    refs = copy.read_refs().with_remote(RefKind.BRANCH, MAIN, theirs).with_branch(MAIN, first)
    write_refs(copy.layout, refs)
    switch(workshop.copy, "main")
    status = read_status(workshop.copy)
    assert status.divergence == Divergence(MAIN, 0, 2)
    assert status.to_json()["upstream"] == {"name": "origin/main", "ahead": 0, "behind": 2}
    assert str(status.divergence) == "behind 2"


def test_empty_branch_is_behind_all_of_the_remotes(workshop: Workshop) -> None:
    commit = workshop.train_and_commit(1)
    copy = workshop.copy
    name = RefName("elsewhere")
    write_refs(copy.layout, copy.read_refs().with_remote(RefKind.BRANCH, name, commit))
    assert find_divergence(copy, name) == Divergence(name, 0, 1)
    assert str(Divergence(name, 2, 1)) == "ahead 2, behind 1"
    assert not str(Divergence(name, 0, 0))
