"""The adapters that benchmarks move: random bf16 factors of LoRA, as large as asked for."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path

from plait.model.safetensors_layout import TensorRange, build_header, header_size, parse_header

WEIGHTS = "adapter_model.safetensors"
LORA = "lora_"
CONFIG = {
    "peft_type": "LORA",
    "base_model_name_or_path": "benchmark/base",
    "r": 16,
    "lora_alpha": 32,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}
MODULE_BYTES = 2**20
"""One factor of rank 16 over 32,768 bf16 values."""


def write_adapter(folder: Path, size: int, *, embedding: int = 0) -> None:
    """Write an adapter of about `size` bytes: random bf16 of ordinary magnitudes, no NaN.

    With `embedding`, a copy of an embedding of about so many bytes comes first in the file.
    """
    folder.mkdir(parents=True)
    tensors = [
        TensorRange(
            f"base_model.model.model.layers.{index // 2}.self_attn.q_proj.{LORA}{side}.weight",
            "BF16",
            (16, MODULE_BYTES // 32) if side == "A" else (MODULE_BYTES // 32, 16),
            0,
            MODULE_BYTES,
        )
        for index in range(size // MODULE_BYTES)
        for side in ("AB"[index % 2],)
    ]
    if rows := embedding // MODULE_BYTES:
        name, shape = "base_model.model.model.embed_tokens.weight", (rows, MODULE_BYTES // 2)
        tensors.insert(0, TensorRange(name, "BF16", shape, 0, rows * MODULE_BYTES))
    header, _ = build_header(tensors, {"format": "pt"})
    source = random.Random(size)
    with (folder / WEIGHTS).open("wb") as file:
        file.write(header)
        for tensor in tensors:
            for _ in range(tensor.size // MODULE_BYTES):
                file.write(make_values(source, MODULE_BYTES))
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))


def change_tensors(weights: Path, seed: int, *, one_in: int = 1) -> int:
    """Give every so-many-th factor other values in place; return how many bytes those have.

    A few values of each are enough for another digest; what a chunking tool would save by that,
    the tools measured here do not.
    """
    size = weights.stat().st_size
    source = random.Random(seed)
    changed = 0
    with weights.open("r+b") as file:
        length = header_size(file.read(8), file_size=size)
        file.seek(0)
        layout = parse_header(file.read(length), file_size=size)
        factors = [tensor for tensor in layout.tensors if LORA in tensor.name]
        for tensor in factors[::one_in]:
            file.seek(tensor.offset)
            file.write(make_values(source, 64))
            changed += tensor.size
    return changed


def make_values(source: random.Random, size: int) -> bytes:
    """Return bf16 values between about 0.008 and 1.99: high bytes of 0x3c to 0x3f."""
    data = bytearray(source.randbytes(size))
    data[1::2] = bytes(data[1::2]).translate(bytes(0x3C | (b & 0x83) for b in range(256)))
    return bytes(data)


def verify_equal(left: Path, right: Path) -> None:
    """Check that two files have the same bytes."""
    digests = []
    for path in (left, right):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if digests[0] != digests[1]:
        raise SystemExit("benchmark: what was pulled is not what was pushed")


def remove(*folders: Path) -> None:
    """Remove folders, read-only ones included."""
    for top in folders:
        for folder, _, _ in os.walk(top):
            Path(folder).chmod(0o700)
        shutil.rmtree(top)
