import pytest

from copies.workshop import CONFIG, WEIGHTS, Workshop, weight_bytes
from plait.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from plait.model.refs import RefKind, RefName
from plait.working_copy.refs import write_refs
from plait.working_copy.status import read_status
from plait.working_copy.switch import create_and_switch, detach, switch
from plait.working_copy.tag import create_tag


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    """Two branches: `main` at version 1 with a.txt, `other` at version 2 with b/c.txt."""
    workshop.train(1)
    workshop.write({"a.txt": b"a"})
    workshop.commit("one")
    create_and_switch(workshop.copy, "other")
    workshop.train(2)
    workshop.write({"a.txt": None, "b/c.txt": b"c"})
    workshop.commit("two")
    return workshop


def test_switch_makes_the_folder_that_of_the_branch(two: Workshop) -> None:
    other = two.files()
    switched = switch(two.copy, "main")
    assert switched.head.branch == "main"
    assert not switched.is_new
    assert two.files()[WEIGHTS] == weight_bytes(1)
    assert "a.txt" in two.files()
    assert not (two.folder / "b").exists()
    assert read_status(two.copy).is_clean
    switch(two.copy, "other")
    assert two.files() == other


def test_change_in_a_file_that_is_the_same_in_both_comes_along(two: Workshop) -> None:
    two.write({CONFIG: b'{"peft_type": "LORA"}'})
    switch(two.copy, "main")
    assert two.files()[CONFIG] == b'{"peft_type": "LORA"}'
    assert read_status(two.copy).modified == (CONFIG,)


def test_change_that_would_be_overwritten_refuses_the_switch(two: Workshop) -> None:
    two.write({WEIGHTS: weight_bytes(7)})
    before = two.files()
    with pytest.raises(Conflict, match="--discard-changes") as caught:
        switch(two.copy, "main")
    assert caught.value.kind == "uncommitted-changes"
    assert caught.value.details["files"] == [WEIGHTS]
    assert two.files() == before
    assert two.copy.read_head().branch == "other"
    switch(two.copy, "main", discard_changes=True)
    assert read_status(two.copy).is_clean


def test_changed_file_that_would_be_removed_refuses_the_switch(two: Workshop) -> None:
    two.write({"b/c.txt": b"changed"})
    with pytest.raises(Conflict):
        switch(two.copy, "main")


def test_untracked_file_that_would_be_overwritten_refuses_the_switch(two: Workshop) -> None:
    two.write({"a.txt": b"mine"})
    with pytest.raises(Conflict) as caught:
        switch(two.copy, "main")
    assert caught.value.details["files"] == ["a.txt"]
    assert two.files()["a.txt"] == b"mine"


def test_untracked_file_with_the_same_bytes_is_no_obstacle(two: Workshop) -> None:
    two.write({"a.txt": b"a"})
    switch(two.copy, "main")
    assert read_status(two.copy).is_clean


def test_ignored_file_is_not_overwritten_either(two: Workshop) -> None:
    two.write({"a.txt": b"mine", ".plaitignore": b"a.txt\n"})
    with pytest.raises(Conflict):
        switch(two.copy, "main")


def test_untracked_file_in_a_folder_that_goes_keeps_the_folder(two: Workshop) -> None:
    two.write({"b/mine.txt": b"mine"})
    switch(two.copy, "main")
    assert two.files()["b/mine.txt"] == b"mine"
    assert "b/c.txt" not in two.files()


def test_file_that_was_removed_by_hand_comes_back(two: Workshop) -> None:
    two.write({WEIGHTS: None})
    switch(two.copy, "main")
    assert two.files()[WEIGHTS] == weight_bytes(1)


def test_file_and_folder_of_one_name_change_places(workshop: Workshop) -> None:
    workshop.train(1)
    workshop.write({"x": b"a file"})
    workshop.commit()
    create_and_switch(workshop.copy, "folder")
    workshop.write({"x": None})
    workshop.write({"x/y/z": b"below"})
    workshop.commit()
    switch(workshop.copy, "main")
    assert workshop.files()["x"] == b"a file"
    switch(workshop.copy, "folder")
    assert workshop.files()["x/y/z"] == b"below"
    workshop.write({"x/mine": b"mine"})
    with pytest.raises(Conflict):
        switch(workshop.copy, "main")
    assert workshop.files()["x/mine"] == b"mine"


def test_file_in_the_place_of_a_folder_is_not_replaced(two: Workshop) -> None:
    switch(two.copy, "main")
    two.write({"b": b"mine"})
    with pytest.raises(Conflict):
        switch(two.copy, "other")
    assert two.files()["b"] == b"mine"
    switch(two.copy, "other", discard_changes=True)
    assert two.files()["b/c.txt"] == b"c"


def test_nothing_is_written_or_removed_through_a_link(two: Workshop) -> None:
    outside = two.folder.parent / "outside"
    outside.mkdir()
    (outside / "c.txt").write_bytes(b"not yours")
    two.write({"b/c.txt": None})
    (two.folder / "b").rmdir()
    (two.folder / "b").symlink_to(outside)
    switch(two.copy, "main")
    assert (outside / "c.txt").read_bytes() == b"not yours"
    with pytest.raises(Conflict):
        switch(two.copy, "other")
    switch(two.copy, "other", discard_changes=True)
    assert (outside / "c.txt").read_bytes() == b"not yours"
    assert not (two.folder / "b").is_symlink()
    assert two.files()["b/c.txt"] == b"c"


def test_discarding_restores_every_file_of_the_branch(two: Workshop) -> None:
    two.write({WEIGHTS: weight_bytes(9), CONFIG: b"{}", "b/c.txt": None, "untracked": b"stays"})
    switch(two.copy, "other", discard_changes=True)
    status = read_status(two.copy)
    assert (status.added, status.modified, status.deleted) == (("untracked",), (), ())


def test_new_branch_takes_uncommitted_changes_along(two: Workshop) -> None:
    two.write({WEIGHTS: weight_bytes(9)})
    switched = create_and_switch(two.copy, "experiment")
    assert switched.is_new
    assert read_status(two.copy).modified == (WEIGHTS,)
    assert two.copy.read_refs().find("experiment") == two.copy.read_refs().find("other")


def test_branch_of_the_remote_is_made_here(two: Workshop) -> None:
    copy = two.copy
    commit = copy.resolve("main")
    theirs = copy.read_refs().with_remote(RefKind.BRANCH, RefName("theirs"), commit)
    write_refs(copy.layout, theirs)
    switched = switch(two.copy, "theirs")
    assert switched.is_new
    assert two.copy.read_refs().find("theirs") == commit


def test_what_is_no_branch_says_what_to_do(two: Workshop) -> None:
    with pytest.raises(NotFound, match="switch -c"):
        switch(two.copy, "nothing")
    commit = two.copy.resolve("main")
    with pytest.raises(InvalidInput, match="--detach"):
        switch(two.copy, commit[:12])
    with pytest.raises(AlreadyExists):
        create_and_switch(two.copy, "main")
    with pytest.raises(InvalidInput, match="remote's"):
        create_and_switch(two.copy, "origin/x")


def test_detached_head_tells_the_commit_that_is_left_behind(two: Workshop) -> None:
    first = detach(two.copy, "main")
    assert first.head.commit == two.copy.resolve("main")
    lost = two.train_and_commit(5)
    left = switch(two.copy, "main")
    assert left.left_behind == lost
    detach(two.copy, "other")
    assert switch(two.copy, "main").left_behind is None


def test_empty_branch_can_be_renamed_by_switching(workshop: Workshop) -> None:
    workshop.train(1)
    switched = create_and_switch(workshop.copy, "first")
    assert switched.commit is None
    workshop.commit()
    assert set(workshop.copy.read_refs().branches) == {"first"}


def test_branch_of_the_remote_that_is_called_like_a_tag_is_not_made(two: Workshop) -> None:
    copy = two.copy
    create_tag(copy, "taken", revision="main")
    theirs = copy.read_refs().with_remote(RefKind.BRANCH, RefName("taken"), copy.resolve("main"))
    write_refs(copy.layout, theirs)
    with pytest.raises(AlreadyExists):
        switch(two.copy, "taken")
