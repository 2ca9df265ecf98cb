"""Small bases and adapters of every form that can be merged, of numbers that need no generator.

They hold what the zoo does not: convolutions, Conv1D, biases, an untied embedding, PiSSA, KaSA, and
bases of all three dtypes. A case is the same on every machine: its numbers are integers of
splitmix64, cut to 24 bits.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference import safetensors_writer

Numbers = NDArray[np.float32]
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Case:
    """A base's and an adapter's tensors by name, as float32, and the adapter's configuration."""

    base: Mapping[str, Numbers]
    adapter: Mapping[str, Numbers]
    config: Mapping[str, Any]
    dtype: str = "F32"
    """Of the base."""
    adapter_dtype: str = "F32"
    base_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """What it is merged with: whole tensors know no other weight than 1."""
        is_whole = (
            bool(self.config.keys() & {"modules_to_save", "bias"})
            or self.config["peft_type"] == "LN_TUNING"
        )
        return 1.0 if is_whole else -0.7

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both, and return the folders of the base and of the adapter."""
        base, adapter = folder / "base", folder / "adapter"
        write_folder(base, self.base, self.dtype)
        (base / "config.json").write_text(json.dumps(self.base_config))
        write_folder(adapter, self.adapter, self.adapter_dtype)
        (adapter / "adapter_config.json").write_text(json.dumps(self.config))
        return base, adapter


def write_folder(folder: Path, tensors: Mapping[str, Numbers], dtype: str) -> None:
    """Write tensors to one file, rounded to a dtype."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        name: (dtype, values.shape, encode(values, dtype)) for name, values in tensors.items()
    }
    (folder / "model.safetensors").write_bytes(safetensors_writer.write(contents))


def encode(values: Numbers, dtype: str) -> bytes:
    """Return the bytes of numbers; bfloat16 is cut off, which is as good as rounding here."""
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def numbers(*shape: int, seed: int) -> Numbers:
    """Return numbers in [-1, 1) without a pattern, exact in 24 bits."""
    with np.errstate(over="ignore"):
        z = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) + np.uint64(seed << 32)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    high = ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.int64) - (1 << 23)
    return (high / 2.0**23).astype(np.float32).reshape(shape)


def make_case(
    config: Mapping[str, Any],
    weights: Mapping[str, tuple[int, ...]],
    parts: Mapping[str, tuple[int, ...]],
    **more: Any,
) -> Case:
    """Return a case of tensors of these shapes; parts of the whole model begin with a dot."""
    seeds = count(1)
    return Case(
        base={name: numbers(*shape, seed=next(seeds)) for name, shape in weights.items()},
        adapter={
            ("base_model" if name.startswith(".") else PREFIX) + name: numbers(
                *shape, seed=next(seeds)
            )
            for name, shape in parts.items()
        },
        config=config,
        **more,
    )


def lora(rank: int, **more: Any) -> dict[str, Any]:
    return {"peft_type": "LORA", "r": rank, "lora_alpha": 3, **more}


LINEAR = {"q.weight": (20, 13), "untouched.weight": (4, 5)}
FACTORS = {"q.lora_A.weight": (3, 13), "q.lora_B.weight": (20, 3)}
TURNED = {"c_attn.weight": (13, 20)}
TURNED_FACTORS = {"c_attn.lora_A.weight": (3, 13), "c_attn.lora_B.weight": (20, 3)}
CONV = {"conv.weight": (6, 4, 3, 2)}
CONV_FACTORS = {"conv.lora_A.weight": (3, 4, 3, 2), "conv.lora_B.weight": (6, 3, 1, 1)}
EMBEDDING = {"embed.weight": (21, 8)}
EMBEDDING_FACTORS = {"embed.lora_embedding_A": (3, 21), "embed.lora_embedding_B": (8, 3)}
HADAMARD = {f"q.hada_w{n}_{side}": shape for n in (1, 2) for side, shape in
            (("a", (20, 3)), ("b", (3, 13)))}  # fmt: skip
CORES = {
    **{f"conv.hada_w{n}_a": (3, 6) for n in (1, 2)},
    **{f"conv.hada_w{n}_b": (3, 4) for n in (1, 2)},
    **{f"conv.hada_t{n}": (3, 3, 3, 2) for n in (1, 2)},
}
PISSA = {"init_lora_weights": "pissa"}
DIAGONAL = {"q.lora_diag": (3,)}
LENGTHS = {"q.lora_magnitude_vector": (20,)}

CASES: dict[str, Callable[[], Case]] = {
    "lora": lambda: make_case(lora(3), LINEAR, FACTORS),
    "lora-bf16": lambda: make_case(lora(3), LINEAR, FACTORS, dtype="BF16", adapter_dtype="BF16"),
    "lora-f16": lambda: make_case(lora(3), LINEAR, FACTORS, dtype="F16", adapter_dtype="F16"),
    "rslora": lambda: make_case(lora(3, use_rslora=True), LINEAR, FACTORS, dtype="BF16"),
    "lora-patterns": lambda: make_case(
        lora(8, rank_pattern={"q": 3}, alpha_pattern={"x|q": 7}), LINEAR, FACTORS
    ),
    "lora-bias": lambda: make_case(
        lora(3, lora_bias=True), {**LINEAR, "q.bias": (20,)}, {**FACTORS, "q.lora_B.bias": (20,)}
    ),
    "lora-conv1d": lambda: make_case(lora(3, fan_in_fan_out=True), TURNED, TURNED_FACTORS),
    "lora-embedding": lambda: make_case(lora(3), EMBEDDING, EMBEDDING_FACTORS, dtype="BF16"),
    "lora-convolution": lambda: make_case(lora(3), CONV, CONV_FACTORS),
    "lora-whole-tensor": lambda: make_case(
        lora(3, modules_to_save=["head"]),
        {**LINEAR, "head.weight": (5, 6)},
        {**FACTORS, "head.weight": (5, 6)},
        dtype="F16",
    ),
    "lora-trained-bias": lambda: make_case(
        lora(3, bias="lora_only"),
        {**LINEAR, "q.bias": (20,)},
        {**FACTORS, "q.base_layer.bias": (20,)},
        dtype="BF16",
    ),
    "dora": lambda: make_case(lora(3, use_dora=True), LINEAR, {**FACTORS, **LENGTHS}),
    "dora-wide": lambda: make_case(
        lora(2, use_dora=True),
        {"q.weight": (3, 400)},
        {
            "q.lora_A.weight": (2, 400),
            "q.lora_B.weight": (3, 2),
            "q.lora_magnitude_vector": (3,),
        },
        dtype="BF16",
    ),
    "dora-conv1d": lambda: make_case(
        lora(3, use_dora=True, fan_in_fan_out=True),
        TURNED,
        {**TURNED_FACTORS, "c_attn.lora_magnitude_vector": (20,)},
    ),
    "dora-embedding": lambda: make_case(
        lora(3, use_dora=True),
        EMBEDDING,
        {**EMBEDDING_FACTORS, "embed.lora_magnitude_vector": (8,)},
    ),
    "dora-convolution": lambda: make_case(
        lora(3, use_dora=True),
        CONV,
        {**CONV_FACTORS, "conv.lora_magnitude_vector": (1, 6, 1, 1)},
    ),
    "pissa": lambda: make_case(lora(3, **PISSA), LINEAR, FACTORS),
    "pissa-by-search": lambda: make_case(
        lora(1, **PISSA),
        {"q.weight": (176, 170)},
        {"q.lora_A.weight": (1, 170), "q.lora_B.weight": (176, 1)},
    ),
    "pissa-dora": lambda: make_case(
        lora(3, use_dora=True, **PISSA), LINEAR, {**FACTORS, **LENGTHS}
    ),
    "kasa": lambda: make_case(lora(3), LINEAR, {**FACTORS, **DIAGONAL}),
    "kasa-dora": lambda: make_case(
        lora(3, use_dora=True), LINEAR, {**FACTORS, **DIAGONAL, **LENGTHS}
    ),
    "adalora": lambda: make_case(
        {
            "peft_type": "ADALORA",
            "init_r": 5,
            "lora_alpha": 3,
            "rank_pattern": {"q.lora_E": [True, False, True, True, False]},
        },
        LINEAR,
        {"q.lora_A": (3, 13), "q.lora_B": (20, 3), "q.lora_E": (3, 1)},
    ),
    "vera": lambda: make_case(
        {"peft_type": "VERA", "r": 3},
        {**LINEAR, "v.weight": (7, 11)},
        {
            "q.vera_lambda_b": (20,),
            "q.vera_lambda_d": (3,),
            "v.vera_lambda_b": (7,),
            "v.vera_lambda_d": (3,),
            ".vera_A": (3, 13),
            ".vera_B": (20, 3),
        },
    ),
    "vera-conv1d": lambda: make_case(
        {"peft_type": "VERA", "r": 3, "fan_in_fan_out": True},
        TURNED,
        {
            "c_attn.vera_lambda_b": (20,),
            "c_attn.vera_lambda_d": (3,),
            ".vera_A": (3, 15),
            ".vera_B": (22, 3),
        },
    ),
    "loha": lambda: make_case({"peft_type": "LOHA", "r": 3, "alpha": 7}, LINEAR, HADAMARD),
    "loha-cores": lambda: make_case({"peft_type": "LOHA", "r": 3, "alpha": 7}, CONV, CORES),
    "lokr": lambda: make_case(
        {"peft_type": "LOKR", "r": 3, "alpha": 7},
        {"q.weight": (20, 12)},
        {"q.lokr_w1": (4, 3), "q.lokr_w2": (5, 4)},
    ),
    "lokr-factors": lambda: make_case(
        {"peft_type": "LOKR", "r": 3, "alpha": 7},
        {"q.weight": (20, 12)},
        {
            "q.lokr_w1_a": (4, 3),
            "q.lokr_w1_b": (3, 3),
            "q.lokr_w2_a": (5, 3),
            "q.lokr_w2_b": (3, 4),
        },
    ),
    "lokr-core": lambda: make_case(
        {"peft_type": "LOKR", "r": 2, "alpha": 7},
        CONV,
        {
            "conv.lokr_w1": (2, 2),
            "conv.lokr_w2_a": (2, 3),
            "conv.lokr_w2_b": (2, 2),
            "conv.lokr_t2": (2, 2, 3, 2),
        },
    ),
    "lokr-one-dimension": lambda: make_case(
        {"peft_type": "LOKR", "r": 2, "alpha": 7},
        {"conv.weight": (6, 4, 3)},
        {"conv.lokr_w1": (2, 2), "conv.lokr_w2": (3, 2, 3)},
    ),
    "ia3-outputs": lambda: make_case(
        {"peft_type": "IA3", "feedforward_modules": []},
        {**LINEAR, "q.bias": (20,)},
        {"q.ia3_l": (20, 1)},
        dtype="BF16",
    ),
    "ia3-inputs": lambda: make_case(
        {"peft_type": "IA3", "feedforward_modules": ["q"]},
        {**LINEAR, "q.bias": (20,)},
        {"q.ia3_l": (1, 13)},
    ),
    "ia3-conv1d": lambda: make_case(
        {"peft_type": "IA3", "feedforward_modules": [], "fan_in_fan_out": True},
        TURNED,
        {"c_attn.ia3_l": (20, 1)},
    ),
    "ia3-convolution": lambda: make_case(
        {"peft_type": "IA3", "feedforward_modules": ["conv"]}, CONV, {"conv.ia3_l": (1, 4, 1, 1)}
    ),
    "ln-tuning": lambda: make_case(
        {"peft_type": "LN_TUNING"},
        {"norm.weight": (9,), "norm.bias": (9,)},
        {"norm.ln_tuning_layers.weight": (9,), "norm.ln_tuning_layers.bias": (9,)},
        dtype="BF16",
    ),
}
"""By name."""
