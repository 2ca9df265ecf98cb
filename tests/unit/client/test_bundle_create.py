import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from plait.bundle.contents import Document
from plait.bundle.create import BundleWish, create_bundle
from plait.bundle.verify import verify_bundle
from plait.bundle.writer import unfinished
from plait.errors import AlreadyExists, Integrity, InvalidInput, NotFound, PlaitError, Unavailable
from plait.model.ids import CommitId, ObjectId
from plait.model.refs import RefKind
from reference.bundles import KIB, MemorySource, bundle, load_contents, make_history, noise


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.plait"


def ids(documents: Sequence[Document]) -> list[CommitId]:
    """Return the commits that a table of contents names."""
    return [CommitId(item.id) for item in documents]


def test_complete_bundle_holds_everything_once(path: Path) -> None:
    source = make_history()
    created = bundle(source, path)
    contents = created.contents
    assert [ref.name for ref in contents.refs] == ["main", "v1"]
    assert contents.prerequisites == ()
    assert set(ids(contents.commits)) == set(source.commits)
    assert len(contents.manifests) == 4
    # A config that all share, and four files of weights, of which two leave the embedding out.
    assert sorted(file.ranges is None for file in contents.files) == [False, False, *[True] * 3]
    assert 200 * KIB < created.size == path.stat().st_size < 230 * KIB
    assert contents == load_contents(path)


def test_parents_come_before_children(path: Path) -> None:
    source = make_history()
    seen: set[str] = set()
    for commit in ids(bundle(source, path).contents.commits):
        assert seen.issuperset(source.commits[commit].commit.parents)
        seen.add(commit)


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    one = bundle(make_history(), tmp_path / "one")
    other = bundle(make_history(), tmp_path / "sub-other")
    assert one.sha256 == other.sha256
    assert one.path.read_bytes() == other.path.read_bytes()


def test_order_of_the_source_makes_no_difference(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = bundle(make_history(), path).sha256
    source = make_history()
    forward = source.load_history
    monkeypatch.setattr(source, "load_history", lambda *args: forward(*args)[::-1])
    source.refs = dict(reversed(source.refs.items()))
    assert bundle(source, path).sha256 == expected


def test_other_tar_programs_read_a_bundle(path: Path, tmp_path: Path) -> None:
    source = make_history()
    bundle(source, path)
    with tarfile.open(path, "r:", errorlevel=2) as archive:
        members = archive.getmembers()
        archive.extractall(tmp_path / "out", filter="data")
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode, m.type) for m in members} == {
        (0, 0, 0, "", 0o644, tarfile.REGTYPE)
    }
    assert members[0].name == "plait-bundle.json"
    for file in (tmp_path / "out" / "files").iterdir():
        assert file.read_bytes() == source.contents[ObjectId(file.name)]
    for commit in (tmp_path / "out" / "commits").iterdir():
        assert json.loads(commit.read_bytes())["format"] == "plait.commit/1"


def test_since_leaves_out_what_the_receiver_has(path: Path) -> None:
    source = make_history()
    second = source.commits[source.refs["main"].target].commit.parents[0]
    created = bundle(source, path, since=[second, "v1"])
    assert ids(created.contents.prerequisites) == sorted({second, source.refs["v1"].target})
    assert len(created.contents.commits) == 2  # the side and the merge
    assert created.size < 20 * KIB
    assert verify_bundle(path).files_in_part == 1


def test_prerequisites_are_only_those_that_something_continues(path: Path) -> None:
    source = make_history()
    created = bundle(source, path, since=["v1"])
    assert ids(created.contents.prerequisites) == [source.refs["v1"].target]
    assert [ref.name for ref in created.contents.refs] == ["main", "v1"]


def test_ref_outside_of_an_incremental_bundle_is_left_out_unless_it_is_named(path: Path) -> None:
    source = make_history()
    main = source.refs["main"].target
    source.commit("newer", main, lora=noise(900, 9))
    created = bundle(source, path, since=[main])
    assert [ref.name for ref in created.contents.refs] == ["main"]
    created = bundle(source, path, "main", "v1", since=[main])
    assert [ref.name for ref in created.contents.refs] == ["main", "v1"]
    assert set(ids(created.contents.prerequisites)) == {main, source.refs["v1"].target}


def test_one_branch_brings_its_own_history_alone(path: Path) -> None:
    source = make_history()
    other = source.commit("other root", lora=noise(10, 7))
    source.point("other", other)
    created = bundle(source, path, "other")
    assert ids(created.contents.commits) == [other]


def test_nothing_new_is_refused(path: Path) -> None:
    with pytest.raises(InvalidInput, match="no commit") as caught:
        bundle(make_history(), path, since=["main"])
    assert caught.value.kind == "bundle-empty"
    assert not path.exists()


def test_empty_repository_is_refused(path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        bundle(MemorySource(), path)
    assert caught.value.kind == "bundle-empty"


def test_unknown_ref_is_told(path: Path) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        bundle(make_history(), path, "nothing")


def test_file_that_is_there_is_kept_unless_forced(path: Path) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(AlreadyExists):
        create_bundle(make_history(), BundleWish(path))
    assert path.read_bytes() == b"precious"
    create_bundle(make_history(), BundleWish(path, force=True))
    verify_bundle(path)


def test_folder_may_be_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    bundle(make_history(), tmp_path / "link" / "x")
    verify_bundle(tmp_path / "real" / "x")


def test_folder_is_never_replaced(path: Path) -> None:
    path.mkdir()
    with pytest.raises(AlreadyExists):
        create_bundle(make_history(), BundleWish(path, force=True))


def test_file_that_appears_meanwhile_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_history()
    read = source.read

    def read_slowly(*arguments: Any) -> Any:
        path.write_bytes(b"theirs")
        return read(*arguments)

    monkeypatch.setattr(source, "read", read_slowly)
    with pytest.raises(AlreadyExists):
        create_bundle(source, BundleWish(path))
    assert path.read_bytes() == b"theirs"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", [b"", b"x", b"y" * 300_000])
def test_source_with_wrong_bytes_leaves_nothing(path: Path, damage: bytes) -> None:
    source = make_history()
    largest = max(source.contents, key=lambda digest: len(source.contents[digest]))
    source.contents[largest] = damage + source.contents[largest][len(damage) + 1 :]
    with pytest.raises(Integrity):
        bundle(source, path)
    assert list(path.parent.iterdir()) == []


def test_second_process_at_the_same_file_is_told(path: Path) -> None:
    with unfinished(path, force=False), pytest.raises(Unavailable) as caught:
        bundle(make_history(), path)
    assert caught.value.kind == "busy"


def test_leftovers_of_a_killed_process_are_removed(path: Path) -> None:
    left = path.with_name(".x.plait.unfinished")
    left.mkdir()
    (left / "bundle").write_bytes(b"half")
    (left / f"{'0' * 64}.partial").write_bytes(b"half")
    bundle(make_history(), path)
    assert list(path.parent.iterdir()) == [path]


def test_link_in_the_place_of_the_folder_removes_nobodys_files(path: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "bundle").write_bytes(b"precious")
    path.with_name(".x.plait.unfinished").symlink_to(tmp_path / "theirs")
    with pytest.raises(Unavailable):
        bundle(make_history(), path)
    assert (tmp_path / "theirs" / "bundle").read_bytes() == b"precious"


def test_other_names_in_the_folder_stay(path: Path) -> None:
    left = path.with_name(".x.plait.unfinished")
    left.mkdir()
    (left / "notes.txt").write_bytes(b"precious")
    bundle(make_history(), path)
    assert [item.name for item in left.iterdir()] == ["notes.txt"]


def test_history_with_a_hole_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_history()
    whole = source.load_history([source.refs["main"].target], [])
    holed = [version for version in whole if version.generation > 1]
    monkeypatch.setattr(source, "load_history", lambda *_: holed)
    with pytest.raises(Integrity) as caught:
        bundle(source, path)
    assert caught.value.kind == "bundle-incomplete"
    assert not path.exists()


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlaitError, match="Cannot write"):
        bundle(make_history(), tmp_path / "absent" / "x.plait")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, *a, **k: (
            os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)
            if self.name == "bundle"
            else opened(self, *a, **k)
        ),
    )
    with pytest.raises(Unavailable) as caught:
        bundle(make_history(), path)
    assert caught.value.kind == "disk-full"
    assert list(path.parent.iterdir()) == []


def test_small_saving_leaves_the_file_whole(path: Path) -> None:
    source = MemorySource()
    first = source.commit("first", embed=noise(60 * KIB, 1), lora=noise(900, 2))
    source.commit("second", first, embed=noise(60 * KIB, 1), lora=noise(900, 3))
    assert all(file.ranges is None for file in bundle(source, path).contents.files)


def test_less_than_half_of_a_file_is_not_left_to_a_prerequisite(path: Path) -> None:
    """A registry would ask for all of such a file."""
    source = MemorySource()
    first = source.commit("first", embed=noise(80 * KIB, 1))
    source.commit("second", first, embed=noise(80 * KIB, 1), head=noise(90 * KIB, 2))
    assert [file.ranges for file in bundle(source, path, since=[first]).contents.files] == [None]
    assert bundle(source, path).contents.files[-1].ranges is not None


def test_tensor_that_stands_twice_in_a_file_is_carried_once(path: Path) -> None:
    source = MemorySource()
    zeros = bytes(100 * KIB)
    source.commit("first", a=zeros, b=zeros, c=zeros)
    assert bundle(source, path).size < 110 * KIB
    assert verify_bundle(path).files_in_part == 0


def test_file_of_an_older_version_is_not_carried_again(path: Path) -> None:
    source = MemorySource()
    first = source.commit("first", lora=noise(5_000, 1))
    second = source.commit("second", first, lora=noise(5_000, 2))
    source.commit("back to the first", second, lora=noise(5_000, 1))
    assert len(bundle(source, path).contents.files) == 3
    assert len(bundle(source, path, since=[first]).contents.files) == 1


def test_tag_alone_can_be_bundled(path: Path) -> None:
    created = bundle(make_history(), path, "v1")
    assert [ref.kind for ref in created.contents.refs] == [RefKind.TAG]
    assert len(created.contents.commits) == 1
