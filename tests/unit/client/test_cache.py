import os
import stat
from pathlib import Path

import pytest

from plait.cache import STAMP, Cache, remove_folder, verify_digest
from plait.errors import Integrity, Unavailable
from plait.model.ids import CommitId, ManifestId, ObjectId, hash_bytes
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath

CONTENTS = {"a.txt": b"alpha", "sub/b.txt": b"beta", "sub/c.txt": b""}
COMMIT = CommitId("c" * 64)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def manifest() -> Manifest:
    return Manifest.of(
        File(FilePath(path), len(data), hash_bytes(data), None) for path, data in CONTENTS.items()
    )


def fill(cache: Cache, manifest: Manifest) -> None:
    for file in manifest.files:
        path = cache.path_of(file.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENTS[file.path])
        cache.seal_file(path, file.sha256)


@pytest.fixture
def version(cache: Cache, manifest: Manifest) -> Path:
    fill(cache, manifest)
    return cache.build_version(manifest, manifest.id)


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def modes(folder: Path) -> set[int]:
    paths = [folder, *folder.rglob("*")]
    return {stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_version_is_read_only_and_holds_every_file(version: Path) -> None:
    found = {
        path.relative_to(version).as_posix(): path.read_bytes()
        for path in version.rglob("*")
        if path.is_file()
    }
    assert found == CONTENTS
    assert modes(version) == {0o444, 0o555}


def test_version_is_named_by_its_manifest_and_found_again(
    cache: Cache, manifest: Manifest, version: Path
) -> None:
    assert version.name == manifest.id
    assert cache.find_version(manifest, manifest.id) == version


def test_version_shares_its_bytes_with_the_cached_files(
    cache: Cache, manifest: Manifest, version: Path
) -> None:
    file = manifest.files[0]
    assert (version / file.path).samefile(cache.path_of(file.sha256))


def test_version_is_copied_where_links_fail(
    cache: Cache, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache, manifest)

    def refuse(self: Path, target: Path) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    version = cache.build_version(manifest, manifest.id)
    assert cache.find_version(manifest, manifest.id) == version
    assert (version / "a.txt").read_bytes() == b"alpha"
    assert (version / "a.txt").stat().st_nlink == 1


def test_version_that_is_absent_or_lacks_a_file_is_not_found(
    cache: Cache, manifest: Manifest, version: Path
) -> None:
    assert cache.find_version(manifest, ManifestId("0" * 64)) is None
    version.joinpath("sub").chmod(0o755)
    version.joinpath("sub", "b.txt").unlink()
    assert cache.find_version(manifest, manifest.id) is None


@pytest.mark.parametrize("data", [b"gamma", b"longer than it was"])
def test_version_that_was_written_to_is_not_found(
    cache: Cache, manifest: Manifest, version: Path, data: bytes
) -> None:
    damage(version / "a.txt", data)
    assert cache.find_version(manifest, manifest.id) is None
    assert not cache.has_file(manifest.files[0])
    assert not cache.path_of(manifest.files[0].sha256).exists()


def test_file_whose_stamp_was_lost_is_read_and_stamped_again(
    cache: Cache, manifest: Manifest, version: Path
) -> None:
    os.utime(version / "a.txt")
    assert cache.find_version(manifest, manifest.id) is None
    assert cache.has_file(manifest.files[0])
    assert cache.find_version(manifest, manifest.id) == version


def test_damaged_version_is_built_anew_under_its_name(
    cache: Cache, manifest: Manifest, version: Path
) -> None:
    damage(version / "a.txt", b"gamma")
    assert not cache.has_file(manifest.files[0])
    fill(cache, Manifest.of(manifest.files[:1]))
    assert cache.build_version(manifest, manifest.id) == version
    assert (version / "a.txt").read_bytes() == b"alpha"


def test_reading_again_finds_what_the_cheap_look_cannot(
    cache: Cache, manifest: Manifest, version: Path
) -> None:
    cache.verify_version(version, manifest)
    damage(version / "a.txt", b"gamma")
    os.utime(version / "a.txt", (STAMP, STAMP))
    assert cache.find_version(manifest, manifest.id) == version
    with pytest.raises(Integrity):
        cache.verify_version(version, manifest)
    assert not cache.has_file(manifest.files[0])


def test_the_first_of_two_builders_stays(cache: Cache, manifest: Manifest, tmp_path: Path) -> None:
    fill(cache, manifest)
    folder = tmp_path / "cache" / "versions" / "x"

    def build_inside(temporary: Path) -> None:
        (temporary / "late").touch()
        cache.build(folder, lambda other: (other / "early").touch())

    cache.build(folder, build_inside)
    assert [path.name for path in folder.iterdir()] == ["early"]
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


def test_failed_building_leaves_nothing(cache: Cache, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "versions" / "x"

    def fail(temporary: Path) -> None:
        (temporary / "sub").mkdir()
        raise Integrity("digest-mismatch", "No.")

    with pytest.raises(Integrity):
        cache.build(folder, fail)
    assert list(folder.parent.iterdir()) == []


def test_wrong_bytes_are_not_sealed(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"wrong")
    with pytest.raises(Integrity) as caught:
        cache.seal_file(path, hash_bytes(b"right"))
    assert caught.value.details["actual"] == hash_bytes(b"wrong")
    with pytest.raises(Integrity, match="not there"):
        verify_digest(tmp_path / "absent", ObjectId("0" * 64))


def test_manifest_is_remembered_and_checked(
    cache: Cache, manifest: Manifest, tmp_path: Path
) -> None:
    assert cache.find_manifest(manifest.id) is None
    cache.keep_manifest(manifest, manifest.id)
    assert cache.find_manifest(manifest.id) == manifest
    (tmp_path / "cache" / "manifests" / manifest.id).write_bytes(b"{}")
    assert cache.find_manifest(manifest.id) is None


def test_commit_is_remembered(cache: Cache, manifest: Manifest, tmp_path: Path) -> None:
    assert cache.find_commit(COMMIT) is None
    cache.keep_commit(COMMIT, manifest.id)
    assert cache.find_commit(COMMIT) == manifest.id
    (tmp_path / "cache" / "commits" / COMMIT).write_bytes(b"torn")
    assert cache.find_commit(COMMIT) is None


def test_part_is_named_by_commit_and_patterns(cache: Cache) -> None:
    folder = cache.part_folder(COMMIT, ["a", "b"])
    assert folder == cache.part_folder(COMMIT, ["b", "a", "a"])
    assert folder != cache.part_folder(COMMIT, ["a"])
    assert folder != cache.part_folder(CommitId("d" * 64), ["a", "b"])


def test_cache_that_cannot_be_written_is_named(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="file"):
        Cache(tmp_path / "file").keep_manifest(manifest, manifest.id)


def test_read_only_folder_can_be_removed(version: Path) -> None:
    remove_folder(version)
    remove_folder(version)
    assert not version.exists()
