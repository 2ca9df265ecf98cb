from pathlib import Path

import pytest

from copies.workshop import Workshop
from plait.errors import AlreadyExists, Integrity, InvalidInput, NotFound
from plait.model.address import RepositoryName
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.init import init
from plait.working_copy.layout import Layout, Remote, find_layout, read_remote
from plait.working_copy.state_files import write_json

REMOTE = Remote("http://127.0.0.1:8420", RepositoryName("team", "sql"))


def test_init_keeps_the_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    copy = init(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert copy.read_head().branch == "main"
    assert copy.find_head_commit() is None


def test_working_copy_is_found_from_a_folder_inside(workshop: Workshop) -> None:
    inside = workshop.folder / "a" / "b"
    inside.mkdir(parents=True)
    assert WorkingCopy.find(inside).root == workshop.folder


def test_folder_outside_of_any_working_copy_says_how_to_begin(tmp_path: Path) -> None:
    assert find_layout(tmp_path) is None
    with pytest.raises(NotFound, match="plait init") as caught:
        WorkingCopy.find(tmp_path)
    assert caught.value.kind == "working-copy-not-found"


def test_second_init_is_refused_unless_it_names_the_remote(tmp_path: Path) -> None:
    init(tmp_path)
    with pytest.raises(AlreadyExists):
        init(tmp_path)
    init(tmp_path, remote=REMOTE)
    assert read_remote(Layout(tmp_path)) == REMOTE
    other = Remote(REMOTE.url, RepositoryName("team", "other"))
    with pytest.raises(AlreadyExists, match="team/sql"):
        init(tmp_path, remote=other)


def test_working_copy_inside_another_is_refused(tmp_path: Path) -> None:
    init(tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(AlreadyExists, match="cannot lie in another"):
        init(tmp_path / "inner")


def test_copy_without_remote_says_how_to_name_one(workshop: Workshop) -> None:
    with pytest.raises(InvalidInput, match="--remote"):
        workshop.copy.get_remote()


def test_copy_of_a_newer_format_is_refused(workshop: Workshop) -> None:
    write_json(workshop.copy.layout.config, {"format": "plait.working-copy/9"})
    with pytest.raises(InvalidInput, match="newer"):
        workshop.copy.get_remote()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "plait.working-copy/1", "remote": 3}'])
def test_damaged_config_is_an_integrity_error(workshop: Workshop, text: str) -> None:
    workshop.copy.layout.config.write_text(text)
    with pytest.raises(Integrity, match="damaged"):
        workshop.copy.get_remote()


@pytest.mark.parametrize("text", ["", "ref: ..", "nonsense"])
def test_damaged_head_is_an_integrity_error(workshop: Workshop, text: str) -> None:
    workshop.copy.layout.head.write_text(text)
    with pytest.raises(Integrity, match="damaged"):
        workshop.copy.read_head()


@pytest.mark.parametrize("text", ["[]", "{}", '{"branches": []}'])
def test_damaged_refs_are_an_integrity_error(workshop: Workshop, text: str) -> None:
    workshop.copy.layout.refs.write_text(text)
    with pytest.raises(Integrity, match="damaged"):
        workshop.copy.read_refs()


def test_missing_refs_are_an_integrity_error_and_no_empty_answer(workshop: Workshop) -> None:
    workshop.copy.layout.refs.unlink()
    with pytest.raises(Integrity, match="is missing"):
        workshop.copy.read_refs()
