import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

import plait.fingerprint
import plait.known_bases
from plait.errors import InvalidInput
from plait.fingerprint import fingerprint_base
from plait.known_bases import base_digests, base_tables, find_base_folder, list_bases
from plait.model.ids import ObjectId
from reference.bases import TENSORS, fingerprint_by_hand, write_base
from reference.safetensors_writer import Content, write

NAMES = sorted(TENSORS)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = write_base(tmp_path / "models" / "base")
    settle(folder)
    return folder


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def settle(folder: Path) -> None:
    """Wait until the file system's clock is past the last change in a folder."""
    last = max(path.stat().st_ctime_ns for path in folder.iterdir())
    probe = folder.parent / "clock"
    while True:
        probe.touch()
        if probe.stat().st_mtime_ns > last:
            return
        time.sleep(0.002)


class Reads:
    """Counts the files whose tensors were hashed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        honest = plait.fingerprint.digest_weights

        def count(sources: dict[str, Path], **options: object) -> object:
            self.paths += sources
            return honest(sources, **options)  # type: ignore[arg-type]

        patch.setattr(plait.known_bases, "digest_weights", count)

    def take(self) -> list[str]:
        """Return what was hashed since the last call."""
        paths, self.paths = self.paths, []
        return paths


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def test_digests_are_those_of_the_tensors(base: Path, cache_dir: Path) -> None:
    for cache in (None, cache_dir, cache_dir):
        fingerprint, digests = base_digests(base, cache)
        assert fingerprint == fingerprint_by_hand(TENSORS) == fingerprint_base(base)
        assert digests == {
            name: hashlib.sha256(data).hexdigest() for name, (_, _, data) in TENSORS.items()
        }


def test_files_are_hashed_once(base: Path, cache_dir: Path, reads: Reads) -> None:
    first = base_tables(base, cache_dir)
    assert reads.take() == ["model.safetensors"]
    assert base_tables(base, cache_dir) == first
    assert reads.take() == []
    base_tables(base, None)
    assert reads.take() == ["model.safetensors"]


def test_only_the_shard_that_changed_is_hashed_again(
    tmp_path: Path, cache_dir: Path, reads: Reads
) -> None:
    shards = [{name: TENSORS[name]} for name in NAMES]
    base = write_base(tmp_path / "base", *shards)
    settle(base)
    assert base_digests(base, cache_dir)[0] == fingerprint_by_hand(TENSORS)
    reads.take()
    dtype, shape, data = TENSORS[NAMES[1]]
    changed = {**TENSORS, NAMES[1]: (dtype, shape, b"\xff" + data[1:])}
    (base / "model-2.safetensors").write_bytes(write({NAMES[1]: changed[NAMES[1]]}))
    settle(base)
    assert base_digests(base, cache_dir)[0] == fingerprint_by_hand(changed)
    assert reads.take() == ["model-2.safetensors"]


def test_flipped_bit_under_the_old_time_of_change_is_noticed(base: Path, cache_dir: Path) -> None:
    path = base / "model.safetensors"
    before = path.stat()
    first, _ = base_digests(base, cache_dir)
    with path.open("r+b") as file:
        file.seek(before.st_size - 1)
        last = file.read(1)[0]
        file.seek(before.st_size - 1)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert base_digests(base, cache_dir)[0] != first


def test_file_that_changed_as_it_was_read_is_read_again(
    base: Path, cache_dir: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = (base / "model.safetensors").stat().st_ctime_ns
    monkeypatch.setattr(plait.known_bases, "_read_clock", lambda _: changed)
    base_tables(base, cache_dir)
    base_tables(base, cache_dir)
    assert reads.take() == ["model.safetensors", "model.safetensors"]


@pytest.mark.parametrize(
    "spoiled", [b"", b"{", b"[]", b'{"format":"plait.known-weights/1"}', b"\xff", b"null"]
)
def test_spoiled_entry_only_costs_time(
    base: Path, cache_dir: Path, reads: Reads, spoiled: bytes
) -> None:
    first = base_digests(base, cache_dir)
    (entry,) = (cache_dir / "bases").glob("*.json")
    entry.write_bytes(spoiled)
    reads.take()
    assert base_digests(base, cache_dir) == first
    assert reads.take() == ["model.safetensors"]


def test_cache_that_cannot_be_written_is_done_without(base: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert base_digests(base, blocked)[0] == fingerprint_by_hand(TENSORS)


def test_links_are_followed_as_caches_use_them(base: Path, tmp_path: Path, reads: Reads) -> None:
    linked = tmp_path / "snapshot"
    linked.mkdir()
    (linked / "model.safetensors").symlink_to(base / "model.safetensors")
    cache_dir = tmp_path / "cache"
    assert base_digests(linked, cache_dir) == base_digests(base, cache_dir)
    assert reads.take() == ["model.safetensors"]  # one file under two names


def test_missing_shard_is_named(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", {NAMES[0]: TENSORS[NAMES[0]]}, {})
    names = '{"a": "model-1.safetensors", "b": "model-3.safetensors"}'
    (base / "model.safetensors.index.json").write_text(f'{{"weight_map": {names}}}')
    for call in (fingerprint_base, lambda folder: base_digests(folder, None)):
        with pytest.raises(InvalidInput, match=r"lacks 'model-3\.safetensors'") as caught:
            call(base)
        assert caught.value.kind == "base-unknown"


@pytest.mark.parametrize("index", ["", "{", "[]", '{"weight_map": []}', "{}"])
def test_index_that_cannot_be_read_is_told(tmp_path: Path, index: str) -> None:
    base = write_base(tmp_path / "base")
    (base / "model.safetensors.index.json").write_text(index)
    with pytest.raises(InvalidInput, match="no index of shards"):
        fingerprint_base(base)


def test_file_that_is_written_to_while_it_is_hashed_is_noticed(tmp_path: Path) -> None:
    large: dict[str, Content] = {
        str(number): ("U8", (1 << 20,), bytes(1 << 20)) for number in range(8)
    }
    base = write_base(tmp_path / "base", large)
    path = base / "model.safetensors"
    done = threading.Event()

    class Meddling:
        """Appends to the file at the first bytes that are read."""

        def total(self, size: int, *, what: str) -> None:
            assert (size, what) == (path.stat().st_size, "Fingerprinting")

        def advance(self, size: int) -> None:
            if not done.is_set():
                done.set()
                with path.open("ab") as file:
                    file.write(b"more")

        def finish(self) -> None:
            assert done.is_set()

    with pytest.raises(InvalidInput, match="written to while it was read"):
        fingerprint_base(base, progress=Meddling())


def test_malformed_file_is_named(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    (base / "model-2.safetensors").write_bytes(b"no")
    with pytest.raises(InvalidInput, match=r"model-2\.safetensors: ") as caught:
        fingerprint_base(base)
    assert caught.value.details["path"] == "model-2.safetensors"


def test_base_is_found_below_the_roots(base: Path, cache_dir: Path, tmp_path: Path) -> None:
    fingerprint, _ = base_digests(base, cache_dir)
    assert find_base_folder([tmp_path / "nothing", tmp_path], fingerprint, cache_dir) == base
    assert find_base_folder([base], fingerprint) == base
    assert find_base_folder([tmp_path], ObjectId("0" * 64), cache_dir) is None


def test_folders_that_are_no_bases_are_passed_over(
    base: Path, cache_dir: Path, tmp_path: Path
) -> None:
    adapter = write_base(tmp_path / "models" / "adapter")
    (adapter / "adapter_config.json").write_text("{}")
    (write_base(tmp_path / "models" / "broken") / "model.safetensors").write_bytes(b"no")
    write_base(tmp_path / "models" / ".hidden")
    write_base(tmp_path / "models" / "zz")  # the same weights: the first folder stays
    other = write_base(tmp_path / "models" / "other", {"a": ("U8", (1,), b"a")})
    assert list_bases([tmp_path], cache_dir) == {
        fingerprint_by_hand(TENSORS): base,
        fingerprint_by_hand({"a": ("U8", (1,), b"a")}): other,
    }


def test_search_does_not_go_deeper_than_it_says(tmp_path: Path) -> None:
    parts = [str(number) for number in range(plait.known_bases.DEEPEST)]
    root = tmp_path / "above" / "root"
    deepest = write_base(root.joinpath(*parts))
    assert list(list_bases([root]).values()) == [deepest]
    assert list_bases([root.parent]) == {}
