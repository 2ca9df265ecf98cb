"""Adapters and base models in folders, opened for the algebra."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.adapter_folder import open_adapter, open_base, open_tensors
from plait.describe import describe_folder
from plait.errors import InvalidInput
from reference.safetensors_writer import read_by_library, write

CONFIG = b'{"peft_type": "LORA", "r": 2, "lora_alpha": 4}'
A = np.arange(6, dtype="<f4").reshape(2, 3)
WEIGHTS = write(
    {
        "q.lora_A.weight": ("F32", (2, 3), A.tobytes()),
        "q.lora_B.weight": ("BF16", (1, 2), b"\x80\x3f\x00\xc0"),
        "norm.weight": ("F64", (1,), np.array([0.1], "<f8").tobytes()),
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "adapter"
    place.mkdir()
    (place / "adapter_config.json").write_bytes(CONFIG)
    (place / "adapter_model.safetensors").write_bytes(WEIGHTS)
    return place


def refuse(folder: Path, *, base: bool = False) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        open_base(folder) if base else open_adapter("team/a@1", folder)
    return caught.value


def test_values_are_exact_in_the_dtypes_that_they_are_read_in(folder: Path) -> None:
    adapter = open_adapter("team/a@1", folder)
    assert np.array_equal(adapter.read("q.lora_A.weight"), A)
    assert np.array_equal(adapter.read("q.lora_B.weight"), [[1.0, -2.0]])
    assert adapter.read("norm.weight").tolist() == [0.1]
    assert adapter.config.gamma_of("q") == 2.0


def test_kinds_and_bytes_are_those_that_the_library_finds(folder: Path) -> None:
    adapter = open_adapter("team/a@1", folder)
    for name, (dtype, shape, data) in read_by_library(WEIGHTS).items():
        assert (adapter.kinds[name].dtype, adapter.kinds[name].shape) == (dtype, shape)
        assert adapter.read_bytes(name) == data


def test_real_adapter_reads_as_the_library_reads_it(micro_data: Path) -> None:
    place = micro_data / "adapters/cpp/v3"
    adapter = open_adapter("micro/cpp@3", place)
    expected = read_by_library((place / "adapter_model.safetensors").read_bytes())
    assert {name: adapter.read_bytes(name) for name in adapter.kinds} == {
        name: data for name, (_, _, data) in expected.items()
    }


def test_manifest_tells_the_digests_of_tensors_beside_the_config_alone(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other/more.safetensors").write_bytes(write({"x": ("F32", (1,), bytes(4))}))
    assert open_adapter("team/a@1", folder).digests == {}
    adapter = open_adapter("team/a@1", folder, describe_folder(folder).manifest)
    assert adapter.digests.keys() == adapter.kinds.keys()


def test_tensors_of_several_files_are_one_model(folder: Path) -> None:
    (folder / "z.safetensors").write_bytes(write({"lm_head.weight": ("F32", (1,), bytes(4))}))
    base = open_base(folder)
    assert {"lm_head.weight", "norm.weight"} <= base.kinds.keys()
    assert base.shape_of("norm") == (1,)
    assert not base.has_bias("norm")


def test_tensor_in_two_files_is_refused_by_both(folder: Path) -> None:
    (folder / "again.safetensors").write_bytes(WEIGHTS)
    error = refuse(folder)
    assert error.kind == "invalid-safetensors"
    assert "adapter_model.safetensors and again.safetensors" in error.message


def test_folder_without_a_config_is_no_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()
    error = refuse(folder)
    assert error.kind == "adapter-config-missing"
    assert error.message.startswith("team/a@1 has no adapter_config.json")


def test_folder_without_weights_is_no_base(tmp_path: Path) -> None:
    error = refuse(tmp_path, base=True)
    assert error.kind == "base-unknown"
    assert str(tmp_path) in error.message


@pytest.mark.parametrize("size", [0, 7, 20, len(WEIGHTS) - 1])
def test_file_that_is_cut_off_is_refused(folder: Path, size: int) -> None:
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS[:size])
    assert refuse(folder).kind == "invalid-safetensors"


def test_file_that_became_shorter_since_is_refused_when_it_is_read(folder: Path) -> None:
    files = open_tensors(folder)
    path = folder / "adapter_model.safetensors"
    path.write_bytes(WEIGHTS[:-1])
    with pytest.raises(InvalidInput) as caught:
        files.read("norm.weight")
    assert caught.value.kind == "file-changed"
