"""A quantised base as the model that its codes stand for, and who does not get it."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.adapter_folder import TensorFiles
from plait.algebra.arrays import decode
from plait.algebra.quantised.four_bit import NF4
from plait.errors import InvalidInput
from plait.model.safetensors_layout import parse_header
from plait.quantised_base import DequantisedFiles, open_weights, read_quantization
from reference import dequantised
from reference.quantised_bases import NF4_STATE, nf4_tensors, write_base

pytestmark = pytest.mark.timeout(300)  # kernels are compiled the first time

GOLDEN = Path(__file__).parents[2] / "golden" / "quantised"
K = "model.layers.0.self_attn.k_proj.weight"
NORM = {"norm.weight": np.ones(8, np.float32)}
INT8: dict[str, Any] = {
    "m.weight": np.arange(-12, 12, dtype=np.int8).reshape(4, 6),
    "m.SCB": np.array([1, 2, 3, 0.7], np.float32),
}


def open_dequantised(folder: Path) -> DequantisedFiles:
    files = open_weights(folder, dequantise=True)
    assert isinstance(files, DequantisedFiles)
    return files


def refusal_of(folder: Path, *, dequantise: bool) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        open_weights(folder, dequantise=dequantise)
    assert caught.value.kind == "not-mergeable"
    return caught.value


def test_original_weights_are_read_as_they_are(micro_data: Path) -> None:
    for dequantise in (False, True):
        assert isinstance(open_weights(micro_data / "base", dequantise=dequantise), TensorFiles)
    assert read_quantization(micro_data / "base") is None


@pytest.mark.parametrize("scheme", ["nf4", "fp4", "int8"])
def test_dequantised_weights_have_to_be_asked_for(scheme: str) -> None:
    folder = next(GOLDEN.glob(f"{scheme}*"))
    message = refusal_of(folder, dequantise=False).message
    assert f"quantised with bitsandbytes ({scheme})" in message
    assert "--dequantise" in message
    assert "original weights" in message


@pytest.mark.parametrize("parts", [("qweight", "qzeros", "scales"), ("qweight", "g_idx")])
def test_gptq_and_awq_are_refused_in_any_case(tmp_path: Path, parts: tuple[str, ...]) -> None:
    method = "gptq" if "g_idx" in parts else "awq"
    config = {"quantization_config": {"quant_method": method}}
    tensors = {f"m.{part}": np.zeros((4, 4), np.int32) for part in parts}
    folder = write_base(tmp_path / "base", {"model.safetensors": tensors}, config)
    for dequantise in (False, True):
        message = refusal_of(folder, dequantise=dequantise).message
        assert f"quantised with {method} ({method}), and these cannot be merged into" in message


def test_a_base_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    tensors = nf4_tensors("m.weight", (8, 16))
    del tensors["m.weight.absmax"]
    folder = write_base(tmp_path / "base", {"model.safetensors": tensors})
    assert "m.weight lacks its tensor absmax" in refusal_of(folder, dequantise=True).message


def test_a_dequantised_model_has_the_names_and_shapes_of_an_ordinary_one() -> None:
    files = open_dequantised(GOLDEN / "nf4-nested")
    found = {name: (item.dtype, item.shape) for name, (_, item) in files.places.items()}
    assert found == {
        K: ("BF16", (64, 128)),
        "half.weight": ("F16", (10, 64)),
        "odd.weight": ("F32", (5, 7)),
        "wide.weight": ("BF16", (4, 128)),
        "model.layers.0.input_layernorm.weight": ("BF16", (128,)),
    }
    assert files.dequantised == found.keys() - {"model.layers.0.input_layernorm.weight"}
    base = files.as_base()
    assert base.shape_of(K.removesuffix(".weight")) == (64, 128)
    values = base.read_weight(K.removesuffix(".weight"))
    expected = decode(files.read_bytes(K), "BF16", (64, 128), precision=np.float32)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("size", [4, 12, 100, 256, 1 << 20])
def test_blocks_of_any_size_make_up_the_tensor(size: int) -> None:
    for folder in sorted(GOLDEN.iterdir()):
        if not folder.is_dir():
            continue
        files = open_dequantised(folder)
        for name, (_, tensor) in files.places.items():
            blocks = [(place, bytes(block)) for place, block in files.read_blocks(name, size)]
            assert [place for place, _ in blocks] == list(range(0, tensor.size, size))
            assert b"".join(block for _, block in blocks) == files.read_bytes(name)


def test_memory_is_that_of_a_block_and_of_the_scales(tmp_path: Path) -> None:
    tensors = nf4_tensors("m.weight", (2048, 4096))  # 16 MiB, with 512 KiB of scales
    files = open_dequantised(write_base(tmp_path / "base", {"model.safetensors": tensors}))
    del tensors
    assert len(files.read_bytes("m.weight")) == 16 << 20  # compiles kernels
    tracemalloc.start()
    try:
        total = sum(len(block) for _, block in files.read_blocks("m.weight", 1 << 18))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 16 << 20
    assert peak < 4 << 20


def test_weights_whose_parts_lie_in_other_shards_are_read(tmp_path: Path) -> None:
    tensors = nf4_tensors("m.weight", (8, 16), dtype="float32")
    codes = {"m.weight": tensors.pop("m.weight")}
    shards = {"a.safetensors": codes | NORM, "b.safetensors": tensors}
    config = {"quantization_config": {"quant_method": "bitsandbytes"}, "hidden_size": 16}
    files = open_dequantised(write_base(tmp_path / "base", shards, config))
    expected = dequantised.four_bit(
        codes["m.weight"].tobytes(), NF4, list(tensors["m.weight.absmax"]), 64
    )
    assert files.read_bytes("m.weight") == np.array(expected, np.float32).tobytes()
    # The shard that held nothing but scales is empty now.
    documents = files.rewrite_documents()
    assert json.loads(documents["config.json"]) == {"hidden_size": 16}
    assert json.loads(documents["model.safetensors.index.json"]) == {
        "metadata": {"total_size": 8 * 16 * 4 + 8 * 4},
        "weight_map": {"m.weight": "a.safetensors", "norm.weight": "a.safetensors"},
    }


def test_headers_describe_the_dequantised_files(tmp_path: Path) -> None:
    tensors = nf4_tensors("m.weight", (8, 16)) | NORM
    files = open_dequantised(write_base(tmp_path / "base", {"model.safetensors": tensors}))
    ((path, header),) = files.headers.items()
    size = len(header) + sum(item.size for _, item in files.places.values())
    layout = parse_header(header, file_size=size)
    assert path.name == "model.safetensors"
    assert layout.metadata == {"format": "pt"}
    assert {item.name: item for item in layout.tensors} == {
        name: item for name, (_, item) in files.places.items()
    }


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "bfloat16"}, "BF16"),
        ({"torch_dtype": "float16"}, "F16"),
        ({"text_config": {"dtype": "torch.bfloat16"}}, "BF16"),
        ({"dtype": "float64"}, "F32"),
        ({"dtype": ["float16"], "text_config": []}, "F32"),
        (None, "F32"),
    ],
)
def test_8_bit_weights_get_the_dtype_of_the_model(
    tmp_path: Path, config: dict[str, Any] | None, dtype: str
) -> None:
    folder = write_base(tmp_path / "base", {"model.safetensors": INT8}, config)
    files = open_dequantised(folder)
    assert files.places["m.weight"][1].dtype == dtype
    assert "m.SCB" not in files.places
    expected = np.array(dequantised.int8(INT8["m.weight"], INT8["m.SCB"]))
    nearest = files.read("m.weight").ravel()
    np.testing.assert_allclose(nearest, expected, rtol=2**-8 if dtype != "F32" else 0)


def test_an_unreadable_configuration_says_nothing(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base", {"model.safetensors": INT8})
    (folder / "config.json").write_text("[1]")
    assert open_dequantised(folder).rewrite_documents() == {}


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("m.weight.absmax", np.zeros(2, np.float64), "m.weight.absmax is of F64, 16 bytes"),
        (f"m.weight.{NF4_STATE}", np.zeros(20_000, np.uint8), "is of U8, 20000 bytes"),
        (f"m.weight.{NF4_STATE}", np.zeros(2, np.uint8), "is no JSON"),
    ],
)
def test_parts_that_bitsandbytes_does_not_write_are_refused(
    tmp_path: Path, part: str, value: Any, words: str
) -> None:
    tensors = nf4_tensors("m.weight", (8, 16)) | {part: value}
    folder = write_base(tmp_path / "base", {"model.safetensors": tensors})
    assert words in refusal_of(folder, dequantise=True).message


def test_8_bit_codes_of_another_dtype_are_refused(tmp_path: Path) -> None:
    tensors = INT8 | {"m.weight": np.zeros((4, 6), np.float16)}
    folder = write_base(tmp_path / "base", {"model.safetensors": tensors})
    assert "m.weight is of F16" in refusal_of(folder, dequantise=True).message


def test_a_file_that_becomes_shorter_is_noticed(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base", {"a.safetensors": nf4_tensors("m.weight", (8, 16))})
    tensors = nf4_tensors("n.weight", (8, 16))
    codes = {"n.weight": tensors.pop("n.weight")}
    write_base(folder, {"b.safetensors": codes, "c.safetensors": tensors})
    files = open_dequantised(folder)
    path = folder / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match=r"b\.safetensors became shorter") as caught:
        files.read_bytes("n.weight")
    assert caught.value.kind == "file-changed"
