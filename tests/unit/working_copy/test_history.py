import pytest

from copies.workshop import Workshop
from plait.errors import NotFound
from plait.wire import Note
from plait.working_copy.history import read_log, read_merge_bases
from plait.working_copy.notes import read_notes, write_notes
from plait.working_copy.switch import create_and_switch
from plait.working_copy.tag import create_tag


@pytest.fixture
def forked(workshop: Workshop) -> Workshop:
    """`main` is root and left; `other`, checked out, is root and right."""
    workshop.train_and_commit(1, "root")
    create_and_switch(workshop.copy, "other")
    workshop.train_and_commit(2, "right")
    create_and_switch(workshop.copy, "left", start="main")
    workshop.train_and_commit(3, "left")
    create_and_switch(workshop.copy, "end", start="other")
    return workshop


def messages(workshop: Workshop, *revisions: str, every_ref: bool = False) -> list[str]:
    entries = read_log(workshop.copy, revisions, every_ref=every_ref)
    return [entry.commit.message for entry in entries]


def test_log_begins_where_it_is_told(forked: Workshop) -> None:
    assert messages(forked) == ["right", "root"]
    assert messages(forked, "left") == ["left", "root"]
    assert messages(forked, "left~1") == ["root"]
    assert messages(forked, "left", "other") == ["left", "right", "root"]
    assert messages(forked, every_ref=True) == ["left", "right", "root"]


def test_log_of_every_ref_shows_a_detached_head_too(forked: Workshop) -> None:
    forked.copy.layout.head.write_text(forked.copy.resolve("HEAD"))
    forked.train_and_commit(9, "detached")
    assert "detached" in messages(forked, every_ref=True)


def test_log_of_an_empty_branch_says_that_it_is_empty(workshop: Workshop) -> None:
    with pytest.raises(NotFound, match="no commit yet"):
        messages(workshop)
    assert messages(workshop, every_ref=True) == []


def test_merge_base_is_where_the_lines_parted(forked: Workshop) -> None:
    assert read_merge_bases(forked.copy, "left", "other") == [forked.copy.resolve("main")]


def test_names_are_listed_by_commit(forked: Workshop) -> None:
    create_tag(forked.copy, "v1", revision="main")
    names = forked.copy.read_refs().names_by_commit()
    assert names[forked.copy.resolve("main")] == ["main", "tag: v1"]


def test_notes_are_kept_beside_the_commits(workshop: Workshop) -> None:
    commit = workshop.train_and_commit(1)
    layout = workshop.copy.layout
    assert read_notes(layout) == {}
    write_notes(layout, {commit: ()})
    assert not layout.notes.exists()
    write_notes(layout, {commit: (Note("metrics", {"loss": 1.5}, "t"),)})
    write_notes(layout, {})
    assert read_notes(layout) == {
        commit: [{"kind": "metrics", "body": {"loss": 1.5}, "created_at": "t"}]
    }
