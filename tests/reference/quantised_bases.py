"""Quantised bases for tests: of given arrays, and of a model that is quantised in plain numpy."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from plait.algebra.arrays import decode
from plait.algebra.quantised.four_bit import NF4
from reference.safetensors_writer import Content, read_by_library, write

Arrays = Mapping[str, Any]

NF4_STATE = "quant_state.bitsandbytes__nf4"


def write_state(shape: tuple[int, ...], dtype: str) -> bytes:
    """Return the state that bitsandbytes keeps beside an NF4 weight with plain scales."""
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": dtype, "shape": shape}
    return json.dumps(state).encode()


def nf4_tensors(name: str, shape: tuple[int, int], *, dtype: str = "bfloat16") -> dict[str, Any]:
    """Return an NF4 weight of random codes with plain scales, in blocks of 64."""
    random = np.random.default_rng(len(name))
    count = shape[0] * shape[1]
    return {
        name: random.integers(0, 256, ((count + 1) // 2, 1), np.uint8),
        f"{name}.absmax": random.random(-(-count // 64), np.float32),
        f"{name}.{NF4_STATE}": np.frombuffer(write_state(shape, dtype), np.uint8),
    }


def write_base(
    folder: Path, files: Mapping[str, Arrays], config: Mapping[str, Any] | None = None
) -> Path:
    """Write a base of these files; with several, an index says which tensor is in which."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in files.items():
        save_file(dict(tensors), folder / name, metadata={"format": "pt"})
    if len(files) > 1:
        places = {tensor: name for name, tensors in files.items() for tensor in tensors}
        document = {"metadata": {"total_size": 1}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(document))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def quantise_nf4(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the codes and the scales of a weight, in blocks of 64, by the nearest value."""
    blocks = weight.reshape(-1, 64)
    scales = np.abs(blocks).max(axis=1)
    distances = np.abs((blocks / scales[:, None])[..., None] - NF4)
    codes = distances.argmin(axis=-1).astype(np.uint8).ravel()
    return (codes[::2] << 4 | codes[1::2]).reshape(-1, 1), scales


def quantise_int8(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the codes and the scales of a weight, with a scale for each row."""
    scales = np.abs(weight).max(axis=1)
    return np.rint(weight / scales[:, None] * np.float32(127)).astype(np.int8), scales


def quantise_base(base: Path, into: Path, scheme: str) -> Path:
    """Write a model with its linear layers' weights in `nf4` or `int8`, as transformers would."""
    tensors: dict[str, Content] = {}
    for name, (dtype, shape, data) in read_by_library(
        (base / "model.safetensors").read_bytes()
    ).items():
        if not name.endswith("_proj.weight"):
            tensors[name] = dtype, shape, data
            continue
        weight = decode(data, dtype, shape, precision=np.float32)
        if scheme == "int8":
            codes8, scales = quantise_int8(weight)
            tensors[name] = "I8", shape, codes8.tobytes()
            tensors[name.replace(".weight", ".SCB")] = "F32", [len(scales)], scales.tobytes()
            continue
        codes, scales = quantise_nf4(weight)
        state = write_state(tuple(shape), "bfloat16")
        tensors[name] = "U8", codes.shape, codes.tobytes()
        tensors[f"{name}.absmax"] = "F32", scales.shape, scales.tobytes()
        tensors[f"{name}.quant_map"] = "F32", [16], NF4.tobytes()
        tensors[f"{name}.{NF4_STATE}"] = "U8", [len(state)], state
    into.mkdir()
    (into / "model.safetensors").write_bytes(write(tensors, {"format": "pt"}))
    config = json.loads((base / "config.json").read_bytes())
    config["quantization_config"] = {"quant_method": "bitsandbytes"}
    (into / "config.json").write_text(json.dumps(config))
    return into
