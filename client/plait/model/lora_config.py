"""The `adapter_config.json` of a LoRA that plait made: the same bytes for the same adapter.

Every factor gamma is 1, since it is inside B: alpha equals the rank. Modules of another rank than
most are named in `rank_pattern` and `alpha_pattern` by their whole path, which engines that know no
regular expressions understand too; it is anchored only where it would match another module.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plait.model.key_layouts.peft import write_pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraDescription:
    """What the configuration says."""

    ranks: Mapping[str, int]
    """Of every adapted module, by its path; not empty."""
    target_modules: tuple[str, ...]
    """As PEFT takes them: names, ends of names, or whole paths."""
    modules_to_save: tuple[str, ...] = ()
    base_name: str | None = None
    base_revision: str | None = None
    task_type: str | None = None
    fan_in_fan_out: bool = False
    has_bias: bool = False


def write_lora_config(lora: LoraDescription) -> bytes:
    """Return the bytes of the configuration."""
    counts = Counter(lora.ranks.values())
    # The most frequent rank; the larger one where two are as frequent.
    rank = max(counts, key=lambda value: (counts[value], value))
    others = {
        write_pattern(module, lora.ranks): value
        for module, value in sorted(lora.ranks.items())
        if value != rank
    }
    document: dict[str, Any] = {
        "alpha_pattern": others,
        "base_model_name_or_path": lora.base_name,
        "bias": "none",
        "fan_in_fan_out": lora.fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_bias": lora.has_bias,
        "lora_dropout": 0.0,
        "modules_to_save": list(lora.modules_to_save) or None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": others,
        "revision": lora.base_revision,
        "target_modules": list(lora.target_modules),
        "task_type": lora.task_type,
        "use_dora": False,
        "use_rslora": False,
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
