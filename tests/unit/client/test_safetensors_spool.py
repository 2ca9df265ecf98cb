"""Files of tensors that are written one tensor at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.adapter_folder import read_layout
from plait.algebra.outcome import EncodedTensor
from plait.errors import Unavailable
from plait.safetensors_spool import SafetensorsSpool
from reference.safetensors_writer import read_by_library

TENSORS = [
    EncodedTensor("z.weight", "F32", (2, 1), b"\x00\x00\x80\x3f\x00\x00\x00\x40"),
    EncodedTensor("a.weight", "BF16", (3,), b"\x80\x3f\x00\x40\x00\x00"),
    EncodedTensor("empty.weight", "F16", (0, 4), b""),
]


def write(path: Path, tensors: list[EncodedTensor]) -> bytes:
    with SafetensorsSpool(path) as spool:
        for tensor in tensors:
            spool.append(tensor)
        spool.finish()
    return path.read_bytes()


def test_library_reads_what_was_appended(tmp_path: Path) -> None:
    found = read_by_library(write(tmp_path / "x.safetensors", TENSORS))
    assert found == {tensor.name: (tensor.dtype, tensor.shape, tensor.data) for tensor in TENSORS}


def test_data_lie_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors", TENSORS)
    offsets = {item.name: item.offset for item in read_layout(tmp_path / "x.safetensors").tensors}
    assert offsets["z.weight"] < offsets["a.weight"] == offsets["z.weight"] + 8


def test_peft_finds_the_format_that_it_looks_for(tmp_path: Path) -> None:
    data = write(tmp_path / "x.safetensors", TENSORS)
    assert b'"__metadata__":{"format":"pt"}' in data


def test_same_tensors_have_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "x.safetensors", TENSORS) == write(tmp_path / "y.safetensors", TENSORS)


def test_file_without_tensors_is_one_that_the_library_reads(tmp_path: Path) -> None:
    assert read_by_library(write(tmp_path / "x.safetensors", [])) == {}


def test_only_the_file_is_left(tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors", TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_nothing_is_left_of_a_file_that_was_given_up(tmp_path: Path) -> None:
    def give_up() -> None:
        with SafetensorsSpool(tmp_path / "x.safetensors") as spool:
            spool.append(TENSORS[0])
            raise KeyError

    with pytest.raises(KeyError):
        give_up()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.symlink_to("/dev/full")
    with pytest.raises(Unavailable) as caught:
        write(path, [EncodedTensor("a", "F32", (1 << 16,), bytes(4 << 16))])
    assert caught.value.kind == "disk-full"
