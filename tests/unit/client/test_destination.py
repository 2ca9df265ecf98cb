import os
from pathlib import Path

import pytest

from plait.destination import copy_file, write_destination
from plait.errors import AlreadyExists, InvalidInput
from plait.model.paths import FilePath


@pytest.fixture
def files(tmp_path: Path) -> dict[FilePath, Path]:
    folder = tmp_path / "version"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha")
    (folder / "sub" / "b.txt").write_text("beta")
    for path in (folder / "a.txt", folder / "sub" / "b.txt"):
        path.chmod(0o444)
    return {FilePath(name): folder / name for name in ("a.txt", "sub/b.txt")}


def read(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


EXPECTED = {"a.txt": "alpha", "sub/b.txt": "beta"}


def test_copy_is_writable_and_complete(files: dict[FilePath, Path], tmp_path: Path) -> None:
    destination = tmp_path / "new" / "dest"
    write_destination(files, destination)
    assert read(destination) == EXPECTED
    assert os.access(destination / "a.txt", os.W_OK)
    assert (destination / "a.txt").stat().st_mode & 0o200
    assert list((tmp_path / "new").iterdir()) == [destination]


def test_empty_folder_is_filled(files: dict[FilePath, Path], tmp_path: Path) -> None:
    (tmp_path / "dest").mkdir()
    write_destination(files, tmp_path / "dest")
    assert read(tmp_path / "dest") == EXPECTED


def test_same_content_is_left_alone(files: dict[FilePath, Path], tmp_path: Path) -> None:
    write_destination(files, tmp_path / "dest")
    before = (tmp_path / "dest" / "a.txt").stat()
    write_destination(files, tmp_path / "dest")
    assert (tmp_path / "dest" / "a.txt").stat() == before


@pytest.mark.parametrize("change", [{"a.txt": "other"}, {"c.txt": "more"}])
def test_other_content_is_refused_without_force(
    files: dict[FilePath, Path], tmp_path: Path, change: dict[str, str]
) -> None:
    destination = tmp_path / "dest"
    write_destination(files, destination)
    for name, text in change.items():
        (destination / name).write_text(text)
    with pytest.raises(AlreadyExists, match="--force"):
        write_destination(files, destination)
    assert read(destination) == EXPECTED | change
    write_destination(files, destination, force=True)
    assert read(destination) == {**change, **EXPECTED}


def test_file_in_the_place_of_the_folder_is_refused(
    files: dict[FilePath, Path], tmp_path: Path
) -> None:
    (tmp_path / "dest").touch()
    with pytest.raises(AlreadyExists, match="is a file"):
        write_destination(files, tmp_path / "dest", force=True)


def test_folder_in_the_place_of_a_file_is_refused(
    files: dict[FilePath, Path], tmp_path: Path
) -> None:
    (tmp_path / "dest" / "a.txt").mkdir(parents=True)
    with pytest.raises(AlreadyExists, match="is a folder"):
        write_destination(files, tmp_path / "dest", force=True)


def test_link_inside_is_never_followed(files: dict[FilePath, Path], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim.txt").write_text("precious")
    destination = tmp_path / "dest"
    destination.mkdir()
    (destination / "a.txt").symlink_to(outside / "victim.txt")
    (destination / "sub").symlink_to(outside)
    with pytest.raises(InvalidInput) as caught:
        write_destination(files, destination, force=True)
    assert caught.value.kind == "symlink-refused"
    (destination / "sub").unlink()
    write_destination(files, destination, force=True)
    assert read(outside) == {"victim.txt": "precious"}
    assert not (destination / "a.txt").is_symlink()


def test_link_to_the_same_content_is_not_the_same(
    files: dict[FilePath, Path], tmp_path: Path
) -> None:
    write_destination(files, tmp_path / "dest")
    (tmp_path / "dest" / "a.txt").unlink()
    (tmp_path / "dest" / "a.txt").symlink_to(files[FilePath("a.txt")])
    with pytest.raises(AlreadyExists):
        write_destination(files, tmp_path / "dest")


def test_longest_names_are_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("long")
    name = FilePath("é" * 127)
    (tmp_path / "dest").mkdir()
    write_destination({name: source}, tmp_path / "dest")
    assert read(tmp_path / "dest") == {name: "long"}


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_copy_has_all_bytes(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    copy_file(source, tmp_path / "one")
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    copy_file(source, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == source.read_bytes()
    assert (tmp_path / "two").read_bytes() == source.read_bytes()
