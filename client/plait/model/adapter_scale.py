r"""The factor of a module's delta, gamma, by PEFT's own rules.

- LoRA: alpha / r, or alpha / sqrt(r) with `use_rslora` (peft/tuners/lora/layer.py).
- LoHa, LoKr, RandLoRA: alpha / r.
- AdaLoRA: alpha / (init_r + 1e-5), also for modules that it has pruned to a lower rank.
- `rank_pattern` and `alpha_pattern` override r and alpha where their first matching key says so.

In double precision; PEFT computes with the same doubles, and AdaLoRA's with a float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from plait.model.adapter_families import Family
from plait.model.adapter_fields import ConfigFields
from plait.model.module_pattern import matches_module

_T = TypeVar("_T")

_ADALORA = "ADALORA"
_ADALORA_EPSILON = 1e-5  # peft/tuners/adalora/layer.py: scaling / (ranknum + 1e-5)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a family keeps rank and alpha, and PEFT's defaults."""

    rank_field: str
    alpha_field: str
    rank: int
    alpha: float


_SOURCES = {
    "LORA": _Source("r", "lora_alpha", 8, 8),
    # AdaLoRA also writes an `r`, which it never reads.
    _ADALORA: _Source("init_r", "lora_alpha", 12, 8),
    "LOHA": _Source("r", "alpha", 8, 8),
    "LOKR": _Source("r", "alpha", 8, 8),
    "RANDLORA": _Source("r", "randlora_alpha", 32, 640),
}


@dataclass(frozen=True, slots=True)
class AdapterScale:
    """Rank and alpha of a family that scales its delta by them."""

    family: Family
    rank: int
    """Where no pattern says otherwise."""
    alpha: float
    """Where no pattern says otherwise."""
    use_rslora: bool
    rank_pattern: Mapping[str, int]
    """By PEFT's patterns; for AdaLoRA by module's name, the ranks that were kept."""
    alpha_pattern: Mapping[str, float]

    def rank_of(self, module: str) -> int:
        """Return the rank of `module`.

        Raises:
            InvalidInput: a pattern cannot be matched.
        """
        if self.family.peft_type == _ADALORA:
            return self.rank_pattern.get(module, self.rank)
        return _look_up(self.rank_pattern, module, self.rank)

    def alpha_of(self, module: str) -> float:
        """Return the alpha of `module`; raises as `rank_of` does."""
        if self.family.peft_type == _ADALORA:
            # PEFT takes the rank for an alpha that is not positive, and knows no patterns here.
            return self.alpha if self.alpha > 0 else float(self.rank)
        return _look_up(self.alpha_pattern, module, self.alpha)

    def gamma_of(self, module: str) -> float:
        """Return the factor of the module's delta; raises as `rank_of` does."""
        alpha = self.alpha_of(module)
        if self.family.peft_type == _ADALORA:
            return alpha / (self.rank + _ADALORA_EPSILON)
        rank = self.rank_of(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def parse_scale(fields: ConfigFields, family: Family) -> AdapterScale | None:
    """Return the rank and alpha of a configuration, or None where the family does not use them.

    Raises:
        InvalidInput: a field is not well-formed.
    """
    source = _SOURCES.get(family.peft_type)
    if source is None:
        return None
    is_adalora = family.peft_type == _ADALORA
    return AdapterScale(
        family=family,
        rank=fields.count(source.rank_field, source.rank),
        alpha=fields.number(source.alpha_field, source.alpha),
        use_rslora=family.peft_type == "LORA" and fields.flag("use_rslora"),
        rank_pattern=(fields.kept_ranks if is_adalora else fields.counts)("rank_pattern"),
        alpha_pattern=fields.numbers("alpha_pattern"),
    )


def _look_up(pattern: Mapping[str, _T], module: str, default: _T) -> _T:
    key = next((key for key in pattern if matches_module(key, module)), module)
    return pattern.get(key, default)
