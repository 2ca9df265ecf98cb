"""A merge into a quantised base: only where it was asked for, and into what its codes stand for."""

import hashlib
import json
from pathlib import Path

import pytest

from plait.errors import InvalidInput
from plait.known_bases import base_digests
from plait.merge import Merged, MergeOptions, MergeSource, merge
from plait.quantised_base import DequantisedFiles, open_weights
from reference.quantised_bases import quantise_base
from reference.safetensors_writer import Content, read_by_library, write

pytestmark = pytest.mark.timeout(300)  # kernels are compiled the first time


@pytest.fixture(params=["nf4", "int8"])
def quantised(request: pytest.FixtureRequest, micro_data: Path, tmp_path: Path) -> Path:
    return quantise_base(micro_data / "base", tmp_path / "quantised", request.param)


def merge_cpp(micro_data: Path, base: Path, **options: object) -> Merged:
    source = MergeSource("micro/cpp@v3", micro_data / "adapters" / "cpp" / "v3")
    return merge([source], MergeOptions(base, device="cpu", **options))  # type: ignore[arg-type]


def write_dequantised(quantised: Path, into: Path) -> Path:
    """Write the model that the codes stand for, as a base of its own."""
    files = open_weights(quantised, dequantise=True)
    assert isinstance(files, DequantisedFiles)
    tensors: dict[str, Content] = {
        name: (tensor.dtype, tensor.shape, files.read_bytes(name))
        for name, (_, tensor) in files.places.items()
    }
    into.mkdir()
    (into / "model.safetensors").write_bytes(write(tensors))
    (into / "config.json").write_bytes(files.rewrite_documents()["config.json"])
    return into


def test_a_quantised_base_is_refused_until_dequantised_weights_are_asked_for(
    quantised: Path, micro_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="--dequantise") as caught:
        merge_cpp(micro_data, quantised, into=tmp_path / "out")
    assert caught.value.kind == "not-mergeable"
    assert not (tmp_path / "out").exists()


def test_the_merge_is_that_into_a_written_copy_of_the_dequantised_model(
    quantised: Path, micro_data: Path, tmp_path: Path
) -> None:
    written = write_dequantised(quantised, tmp_path / "written")
    merged = merge_cpp(micro_data, quantised, dequantise=True)
    expected = merge_cpp(micro_data, written)
    assert merged.digests == expected.digests
    assert merged.base_weights == "dequantised"
    assert expected.base_weights == "original"
    # A quantised base is a base of its own, whatever weights it was made of.
    assert merged.base == base_digests(quantised, None)[0] != expected.base
    assert merge_cpp(micro_data, micro_data / "base").digests.root != merged.digests.root


def test_a_merged_model_is_written_as_an_ordinary_one(
    quantised: Path, micro_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    merged = merge_cpp(micro_data, quantised, dequantise=True, into=out)
    tensors = read_by_library((out / "model.safetensors").read_bytes())
    assert {
        name: hashlib.sha256(data).hexdigest() for name, (_, _, data) in tensors.items()
    } == merged.digests.tensors
    assert {dtype for dtype, _, _ in tensors.values()} == {"BF16"}
    original = json.loads((micro_data / "base" / "config.json").read_bytes())
    assert json.loads((out / "config.json").read_bytes()) == original
    assert open_weights(out) is not None


@pytest.mark.torch
@pytest.mark.slow
def test_transformers_loads_the_merged_model(
    quantised: Path, micro_data: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    merge_cpp(micro_data, quantised, dequantise=True, into=tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    held = load_file(micro_data / "heldout_tokens.safetensors")["cpp"].long()
    with torch.no_grad():
        loss = model(held, labels=held).loss
    # 1.62 with the original base, 3.92 without the adapter.
    assert loss < 1.9
