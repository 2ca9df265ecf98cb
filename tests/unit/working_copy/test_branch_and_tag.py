import pytest

from copies.workshop import Workshop
from plait.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from plait.model.refs import RefKind, RefName
from plait.working_copy.branch import create_branch, delete_branch, list_branches, rename_branch
from plait.working_copy.refs import write_refs
from plait.working_copy.switch import create_and_switch, switch
from plait.working_copy.tag import create_tag, delete_tag


def test_branches_are_listed_with_the_current_one(workshop: Workshop) -> None:
    (only,) = list_branches(workshop.copy)
    assert (only.name, only.target, only.is_current) == ("main", None, True)
    first = workshop.train_and_commit(1)
    workshop.train_and_commit(2)
    assert create_branch(workshop.copy, "fix", start="main~1") == first
    assert [(item.name, item.is_current) for item in list_branches(workshop.copy)] == [
        ("fix", False),
        ("main", True),
    ]


def test_branch_needs_a_commit_and_a_free_name(workshop: Workshop) -> None:
    with pytest.raises(NotFound, match="no commit yet"):
        create_branch(workshop.copy, "fix")
    workshop.train_and_commit(1)
    create_tag(workshop.copy, "v1")
    for taken in ("main", "v1"):
        with pytest.raises(AlreadyExists):
            create_branch(workshop.copy, taken)
    with pytest.raises(InvalidInput):
        create_branch(workshop.copy, "a..b")


def test_branch_with_commits_of_its_own_is_deleted_only_by_force(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    create_branch(workshop.copy, "merged")
    create_and_switch(workshop.copy, "apart")
    apart = workshop.train_and_commit(2)
    with pytest.raises(InvalidInput, match="checked out"):
        delete_branch(workshop.copy, "apart")
    switch(workshop.copy, "main")
    delete_branch(workshop.copy, "merged")
    with pytest.raises(Conflict, match="-D") as caught:
        delete_branch(workshop.copy, "apart")
    assert caught.value.kind == "branch-not-merged"
    assert delete_branch(workshop.copy, "apart", force=True) == apart
    with pytest.raises(NotFound):
        delete_branch(workshop.copy, "apart")


def test_pushed_branch_is_deleted_without_force(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    create_and_switch(workshop.copy, "pushed")
    commit = workshop.train_and_commit(2)
    switch(workshop.copy, "main")
    copy = workshop.copy
    theirs = copy.read_refs().with_remote(RefKind.BRANCH, RefName("pushed"), commit)
    write_refs(copy.layout, theirs)
    assert delete_branch(workshop.copy, "pushed") == commit


def test_renaming_takes_head_along(workshop: Workshop) -> None:
    assert rename_branch(workshop.copy, None, "start") == "start"
    assert workshop.copy.read_head().branch == "start"
    commit = workshop.train_and_commit(1)
    rename_branch(workshop.copy, "start", "end")
    assert workshop.copy.read_head().branch == "end"
    assert workshop.copy.read_refs().branches == {"end": commit}
    create_branch(workshop.copy, "aside")
    rename_branch(workshop.copy, "aside", "beside")
    assert set(workshop.copy.read_refs().branches) == {"beside", "end"}
    assert workshop.copy.read_head().branch == "end"
    with pytest.raises(NotFound):
        rename_branch(workshop.copy, "nobody", "somebody")
    with pytest.raises(AlreadyExists):
        rename_branch(workshop.copy, "beside", "end")


def test_detached_head_has_no_branch_to_rename(workshop: Workshop) -> None:
    workshop.copy.layout.head.write_text(workshop.train_and_commit(1))
    with pytest.raises(InvalidInput):
        rename_branch(workshop.copy, None, "new")


def test_tag_stays_where_it_was_made(workshop: Workshop) -> None:
    first = workshop.train_and_commit(1)
    assert create_tag(workshop.copy, "v1") == first
    workshop.train_and_commit(2)
    assert workshop.copy.resolve("v1") == first
    for taken in ("v1", "main"):
        with pytest.raises(AlreadyExists):
            create_tag(workshop.copy, taken)
    assert create_tag(workshop.copy, "v0", revision="main~1") == first
    assert delete_tag(workshop.copy, "v1") == first
    with pytest.raises(NotFound):
        delete_tag(workshop.copy, "v1")
