"""Adapters of any size, made up: random bf16 weights under the names that PEFT gives.

The safetensors files are written here by hand, from the format's own description, so that a
fault in plait's reading of the format cannot hide itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

BASE = "example/base-1b"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
MIB = 1 << 20


@dataclass(frozen=True)
class MadeTensor:
    """A bf16 tensor."""

    name: str
    shape: tuple[int, ...]
    data: bytes


def random_tensor(name: str, shape: tuple[int, ...], seed: int) -> MadeTensor:
    """Return finite random bf16 values."""
    bits = np.random.default_rng(seed).integers(0, 1 << 16, int(np.prod(shape)), dtype=np.uint16)
    # Without the exponent's top bit no value is NaN or infinite.
    return MadeTensor(name, shape, (bits & np.uint16(0xBFFF)).tobytes())


def lora_tensors(
    *, layers: int = 4, rank: int = 8, width: int = 64, seed: int = 0
) -> list[MadeTensor]:
    """Return the A and B factors of the query and value projections."""
    return [
        random_tensor(
            f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{factor}.weight",
            (rank, width) if factor == "A" else (width, rank),
            seed * 1_000_003 + layer * 4 + number,
        )
        for layer in range(layers)
        for number, (module, factor) in enumerate(
            (module, factor) for module in ("q_proj", "v_proj") for factor in "AB"
        )
    ]


def embedding(*, rows: int, width: int = 512, seed: int = 99) -> MadeTensor:
    """Return a saved embedding: the large tensor that stays the same from version to version."""
    return random_tensor("base_model.model.model.embed_tokens.weight", (rows, width), seed)


def serialize(tensors: Sequence[MadeTensor], *, metadata: dict[str, str] | None = None) -> bytes:
    """Return a file by the rules of the format."""
    header: dict[str, object] = {"__metadata__": metadata or {"format": "pt"}}
    position = 0
    for tensor in tensors:
        end = position + len(tensor.data)
        header[tensor.name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *(tensor.data for tensor in tensors)))


def write_adapter(
    folder: Path,
    tensors: Iterable[MadeTensor] | None = None,
    *,
    base: str | None = BASE,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a LoRA adapter as PEFT's save_pretrained does, in place of what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = lora_tensors() if tensors is None else list(tensors)
    (folder / WEIGHTS).write_bytes(serialize(chosen, metadata=metadata))
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "lora_alpha": 16,
        "peft_type": "LORA",
        "r": 8,
        "target_modules": ["v_proj", "q_proj"],
        "task_type": "CAUSAL_LM",
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    return folder


def write_large_adapter(folder: Path, *, mebibytes: int, seed: int = 1, pieces: int = 8) -> Path:
    """Write an adapter of about that size, in tensors of equal size."""
    size = mebibytes * MIB // 2 // pieces
    return write_adapter(
        folder,
        [
            random_tensor(f"base_model.model.piece.{i}.lora_A.weight", (size,), seed * 977 + i)
            for i in range(pieces)
        ],
    )


def spoil(tensor: MadeTensor, bits: int) -> MadeTensor:
    """Return the tensor with one element in its middle replaced, such as 0x7FC0 for NaN."""
    middle = len(tensor.data) // 4 * 2
    data = tensor.data[:middle] + bits.to_bytes(2, "little") + tensor.data[middle + 2 :]
    return replace(tensor, data=data)
