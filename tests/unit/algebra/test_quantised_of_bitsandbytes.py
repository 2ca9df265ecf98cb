"""Dequantised values against bitsandbytes itself, from the weights of real models.

The two differ only where numbers are tiny: bitsandbytes' CUDA kernels flush products below 2^-126
to zero, and its code for some processors does so with float16 below 2^-24. Weights of models are
nowhere near.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.quantised_base import DequantisedFiles, open_weights
from reference.quantised_bases import write_base

pytest.importorskip("bitsandbytes", reason="make setup-dev installs bitsandbytes")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.timeout(300),  # kernels are compiled the first time
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

SCHEMES = [("nf4", False), ("nf4", True), ("fp4", False), ("fp4", True)]


def array(tensor: Any) -> Any:
    """Return a tensor's bytes: numpy has no bfloat16."""
    import torch

    return tensor.contiguous().flatten().view(torch.uint8).numpy()


def quantise(name: str, weight: Any, scheme: str, **options: Any) -> tuple[dict[str, Any], bytes]:
    """Return what bitsandbytes stores of a weight, and what it dequantises from that."""
    import torch
    from bitsandbytes import functional

    codes, state = functional.quantize_4bit(weight, quant_type=scheme, **options)
    parts = {f"{name}.{part}": value for part, value in state.as_dict(packed=True).items()}
    tensors = {key: value.numpy() for key, value in {name: codes, **parts}.items()}
    # Odd shapes go through torch.compile, which takes seconds for each and a C++ compiler.
    with torch.compiler.set_stance("force_eager"):
        return tensors, array(functional.dequantize_4bit(codes, state)).tobytes()


def linear_weights(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the weights of one layer that transformers would quantise."""
    from safetensors.torch import load_file

    for name, weight in sorted(load_file(folder / "model.safetensors").items()):
        if name.startswith("model.layers.3.") and name.endswith("_proj.weight"):
            yield name, weight


def read_back(folder: Path, tensors: dict[str, Any]) -> DequantisedFiles:
    config = {"dtype": "bfloat16"}
    write_base(folder, {"model.safetensors": tensors}, config)
    files = open_weights(folder, dequantise=True)
    assert isinstance(files, DequantisedFiles)
    return files


@pytest.mark.parametrize(("scheme", "is_nested"), SCHEMES)
def test_4_bit_weights_of_a_layer_are_what_bitsandbytes_says(
    scheme: str, *, is_nested: bool, zoo_data: Path, tmp_path: Path
) -> None:
    tensors: dict[str, Any] = {}
    expected: dict[str, bytes] = {}
    for name, weight in linear_weights(zoo_data / "base"):
        parts, expected[name] = quantise(name, weight, scheme, compress_statistics=is_nested)
        tensors |= parts
    files = read_back(tmp_path / "base", tensors)
    assert files.dequantised == expected.keys()
    assert {name: files.read_bytes(name) for name in expected} == expected


def test_8_bit_weights_of_a_layer_are_what_bitsandbytes_says(
    zoo_data: Path, tmp_path: Path
) -> None:
    from bitsandbytes import functional

    tensors: dict[str, Any] = {}
    expected: dict[str, bytes] = {}
    for name, weight in linear_weights(zoo_data / "base"):
        codes, scales, _ = functional.int8_vectorwise_quant(weight.half())
        tensors[name] = codes.numpy()
        tensors[name.removesuffix("weight") + "SCB"] = scales.numpy()
        # The model's dtype, as transformers casts what bitsandbytes returns in float32.
        dequantised = functional.int8_vectorwise_dequant(codes, scales).bfloat16()
        expected[name] = array(dequantised).tobytes()
    files = read_back(tmp_path / "base", tensors)
    assert {name: files.read_bytes(name) for name in expected} == expected


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 64), (10, 96), (2, 3, 64)])
@pytest.mark.parametrize("blocksize", [64, 256])
def test_odd_shapes_and_blocks_are_what_bitsandbytes_says(
    dtype: str, shape: tuple[int, ...], blocksize: int, tmp_path: Path
) -> None:
    import torch

    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(shape, generator=generator).to(getattr(torch, dtype))
    for scheme, is_nested in SCHEMES:
        tensors, expected = quantise(
            "m.weight", weight, scheme, blocksize=blocksize, compress_statistics=is_nested
        )
        files = read_back(tmp_path / f"{scheme}-{is_nested}", tensors)
        assert files.places["m.weight"][1].shape == shape
        assert files.read_bytes("m.weight") == expected


def test_codes_may_be_stored_as_another_dtype(tmp_path: Path) -> None:
    import torch

    weight = torch.linspace(-1, 1, 4 * 64).reshape(4, 64)
    tensors, expected = quantise("m.weight", weight, "nf4", quant_storage=torch.float32)
    assert tensors["m.weight"].dtype == np.float32
    assert read_back(tmp_path / "base", tensors).read_bytes("m.weight") == expected


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4, 8])
def test_a_model_that_transformers_quantised_is_read_as_it_dequantises_it(
    bits: int, micro_data: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    wish = BitsAndBytesConfig(
        load_in_4bit=bits == 4, load_in_8bit=bits == 8, **(four if bits == 4 else {})
    )
    model = AutoModelForCausalLM.from_pretrained(
        micro_data / "base", quantization_config=wish, dtype="bfloat16"
    )
    model.save_pretrained(tmp_path / "quantised")
    expected = AutoModelForCausalLM.from_pretrained(tmp_path / "quantised").dequantize()
    weights = expected.state_dict()
    files = open_weights(tmp_path / "quantised", dequantise=True)
    assert isinstance(files, DequantisedFiles)
    assert len(files.dequantised) == 28
    assert weights.keys() - files.places.keys() == {"lm_head.weight"}  # tied
    for name in files.places:
        assert files.read_bytes(name) == array(weights[name]).tobytes(), name
