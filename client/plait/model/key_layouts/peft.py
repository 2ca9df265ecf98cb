"""PEFT's names and its configuration, for a LoRA of one model or of a pipeline's components.

A LoRA of one component has the paths of that model, as PEFT loads them into it. One of several has
the component in front of each path, as a model that holds them by those names would have it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from plait.model.adapter_keys import KeyForm, split_tensor_name
from plait.model.key_layouts.forms import Component, LoraKey, Part

PREFIX = "base_model.model."
SUFFIXES = {
    Part.A: "lora_A.weight",
    Part.B: "lora_B.weight",
    Part.BIAS: "lora_B.bias",
    Part.MAGNITUDE: "lora_magnitude_vector",
}
_PARTS = {suffix: part for part, suffix in SUFFIXES.items()}


@dataclass(frozen=True, slots=True)
class Scale:
    """What a module's factor of scale is made of: gamma = alpha / rank, or over its root."""

    rank: int
    alpha: float


def split_name(name: str) -> LoraKey | None:
    """Return a tensor's component, module and part, or None where it is not a LoRA's in PEFT."""
    key = split_tensor_name(name)
    part = _PARTS.get(key.part)
    if key.form is not KeyForm.PEFT or part is None:
        return None
    start, _, rest = key.module.partition(".")
    if rest and start in set(Component):
        return LoraKey(Component(start), rest, part)
    return LoraKey(None, key.module, part)


def write_config(
    scales: Mapping[str, Scale],
    *,
    use_rslora: bool = False,
    use_dora: bool = False,
    lora_bias: bool = False,
) -> dict[str, Any]:
    """Return the fields of `adapter_config.json` for modules of the given scales, by path.

    The most frequent rank and alpha stand alone, the larger ones where two are as frequent.
    """
    rank = _most_frequent(scale.rank for scale in scales.values())
    alpha = _most_frequent(scale.alpha for scale in scales.values())
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": None,
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": _whole(alpha),
        "alpha_pattern": {
            write_pattern(module, scales): _whole(scale.alpha)
            for module, scale in sorted(scales.items())
            if scale.alpha != alpha
        },
        "lora_bias": lora_bias,
        "lora_dropout": 0.0,
        "r": rank,
        "rank_pattern": {
            write_pattern(module, scales): scale.rank
            for module, scale in sorted(scales.items())
            if scale.rank != rank
        },
        "target_modules": sorted(scales),
        "use_dora": use_dora,
        "use_rslora": use_rslora,
    }


def write_pattern(module: str, modules: Collection[str]) -> str:
    """Return the key of a pattern that PEFT matches with `module` and with none of the others.

    It is the whole path, anchored and escaped only where another path ends with it.
    """
    is_end_of_another = any(other.endswith(f".{module}") for other in modules)
    return f"^{re.escape(module)}" if is_end_of_another else module


def _most_frequent(values: Iterable[Any]) -> Any:
    counts = Counter(values)
    return max(counts, key=lambda value: (counts[value], value))


def _whole(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value
