"""The stat cache: believed when it can be, and never when a change could have gone unseen."""

import os
from pathlib import Path

import pytest

from copies.workshop import CONFIG, WEIGHTS, Workshop, weight_bytes
from plait.model.ids import hash_bytes
from plait.model.paths import FilePath
from plait.working_copy.stat_cache import StatCache
from plait.working_copy.status import read_status

PATH = FilePath(WEIGHTS)


def set_time(path: Path, nanoseconds: int) -> None:
    os.utime(path, ns=(nanoseconds, nanoseconds))


def overwrite_unseen(path: Path, data: bytes) -> None:
    """Change the bytes of a file and nothing that a look at its status could show."""
    status = path.stat()
    assert status.st_size == len(data)
    with path.open("r+b") as file:
        file.write(data)
    set_time(path, status.st_mtime_ns)


def test_file_that_did_not_change_is_not_read_again(workshop: Workshop) -> None:
    workshop.train(1)
    path = workshop.folder / WEIGHTS
    set_time(path, 1_000_000_000)
    workshop.commit()
    overwrite_unseen(path, weight_bytes(2))
    # Only whoever reads the file could know.
    assert read_status(workshop.copy).is_clean


def test_file_that_changed_in_the_tick_when_it_was_read_is_read_again(workshop: Workshop) -> None:
    workshop.train(1)
    path = workshop.folder / WEIGHTS
    workshop.commit()
    cache = StatCache(workshop.copy.layout)
    # As if the file had been written in the very tick in which reading began.
    set_time(path, cache.now)
    cache.look_at(PATH)
    with workshop.copy.changing():
        cache.save(keep=[PATH])
    overwrite_unseen(path, weight_bytes(2))
    assert read_status(workshop.copy).modified == (PATH,)


def test_time_in_the_future_is_never_believed(workshop: Workshop) -> None:
    workshop.train(1)
    path = workshop.folder / WEIGHTS
    set_time(path, 4_000_000_000_000_000_000)
    workshop.commit()
    overwrite_unseen(path, weight_bytes(2))
    assert read_status(workshop.copy).modified == (PATH,)


def test_replaced_file_is_read_again(workshop: Workshop) -> None:
    workshop.train(1)
    path = workshop.folder / WEIGHTS
    set_time(path, 1_000_000_000)
    workshop.commit()
    other = workshop.folder / "other"
    other.write_bytes(weight_bytes(2))
    set_time(other, 1_000_000_000)
    other.replace(path)
    assert read_status(workshop.copy).modified == (PATH,)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "plait.index/1", "manifest": 1}'])
def test_damaged_cache_costs_only_time(workshop: Workshop, text: str) -> None:
    workshop.train_and_commit(1)
    workshop.copy.layout.index.write_text(text)
    assert read_status(workshop.copy).is_clean


def test_cache_forgets_files_that_went_and_keeps_tensors(workshop: Workshop) -> None:
    workshop.train(1)
    workshop.write({"README.md": b"text"})
    for name in (WEIGHTS, "README.md"):
        set_time(workshop.folder / name, 1_000_000_000)
    workshop.commit()
    workshop.write({"README.md": None, CONFIG: b'{"peft_type": "LORA"}'})
    workshop.commit()
    text = workshop.copy.layout.index.read_text()
    assert "README.md" not in text
    stamp_of = StatCache(workshop.copy.layout)
    assert stamp_of.look_at(PATH).sha256 == hash_bytes(weight_bytes(1))
    assert "lora_A" in text


def test_what_is_no_file_is_seen_as_something_else(workshop: Workshop) -> None:
    (workshop.folder / "folder").mkdir()
    (workshop.folder / "link").symlink_to("nowhere")
    workshop.write({"broken.safetensors": b"\xff" * 20})
    cache = StatCache(workshop.copy.layout)
    for name in ("folder", "link", "broken.safetensors"):
        found = cache.look_at(FilePath(name))
        assert found.exists
        assert found.sha256 is None
    assert not cache.look_at(FilePath("absent")).exists
    assert not cache.look_at(FilePath("broken.safetensors/below")).exists
