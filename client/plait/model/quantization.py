"""How a base model is quantised, and which of its tensors make up which weight.

What is stored decides, not what the configuration claims, since a base's fingerprint covers the
tensors alone:

- bitsandbytes NF4 and FP4 (https://arxiv.org/abs/2305.14314): the weight holds two codes in a byte;
  `.absmax`, `.quant_map` and `.quant_state.bitsandbytes__nf4` (or `__fp4`) lie beside it, with
  nested quantisation also `.nested_absmax` and `.nested_quant_map`.
- bitsandbytes LLM.int8 (https://arxiv.org/abs/2208.07339): the module has a tensor `SCB` beside its
  weight, and may have a `weight_format`.
- GPTQ (https://arxiv.org/abs/2210.17323) and AWQ (https://arxiv.org/abs/2306.00978): the module has
  `qweight`, `qzeros`, `scales`, GPTQ also `g_idx`, instead of a weight.

A configuration that asks for bitsandbytes beside ordinary weights only says how a loader should
quantise them: such a base is not quantised. Any other method that a configuration names is
believed, for want of a way to check it.

Weights of the bitsandbytes schemes can be dequantised, by `plait.algebra.quantised`. The others
are known by name and fingerprint alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from plait.model.base_layout import find_transposed

DEFINITION = "dequantise-bnb-v1"
"""The written definition of dequantised values, in `docs/merge-definitions.md`."""

_STATE = ".quant_state.bitsandbytes__"
_WEIGHT = ".weight"
_SCB = ".SCB"
_QWEIGHT = ".qweight"
_PARTS_OF_4BIT = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
_PARTS_OF_INTEGERS = ("qweight", "qzeros", "scales", "g_idx")
_BITSANDBYTES = "bitsandbytes"


class Scheme(StrEnum):
    """How a weight is written."""

    NF4 = "nf4"  # 4-bit codes for quantiles of a normal distribution, with a scale for each block
    FP4 = "fp4"  # 4-bit floating-point codes, with a scale for each block
    INT8 = "int8"  # whole numbers of 8 bits, with a scale for each row
    GPTQ = "gptq"  # packed whole numbers with zero points and scales; not dequantised here
    AWQ = "awq"  # as GPTQ, packed along the other axis


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A weight that is stored as codes and what they mean."""

    name: str
    """Of the weight, as an unquantised model calls it: `<module>.weight`."""
    scheme: Scheme
    parts: Mapping[str, str]
    """The stored tensors by what they are: 4-bit weights have `codes`, `state`, `absmax` and
    `quant_map`, and may have `nested_absmax` and `nested_quant_map`; int8 has `codes`, `SCB` and
    `weight_format`; the others have what they call `qweight`, `qzeros`, `scales`, `g_idx`."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a base is quantised."""

    method: str
    """As configurations name it: `bitsandbytes`, `gptq`, `awq`, ..."""
    weights: Mapping[str, QuantizedWeight] = field(hash=False)
    """By the weights' names; empty for a method whose tensors are not known."""
    obstacle: str | None = None
    """Why its weights cannot be dequantised, as the end of a sentence; None where they can."""

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Of its weights, each once, sorted."""
        return tuple(sorted({weight.scheme for weight in self.weights.values()}))

    @property
    def stored(self) -> frozenset[str]:
        """The names of all tensors that make up quantised weights."""
        return frozenset(name for item in self.weights.values() for name in item.parts.values())


def find_quantization(config: Mapping[str, Any], tensors: Collection[str]) -> Quantization | None:
    """Return how a model is quantised; None: it is not.

    `config` is its `config.json`, empty where there is none; `tensors` are the names in its files.
    """
    names = frozenset(tensors)
    found = {**_find_4bit(names), **_find_int8(names)}
    if found:
        obstacle = _find_missing(found) or _find_conv1d(config)
        return Quantization(_BITSANDBYTES, dict(sorted(found.items())), obstacle)
    claimed = _read_method(config)
    integers = _find_integers(names, claimed)
    method = claimed or next((weight.scheme.value for weight in integers.values()), None)
    if method is None or (method == _BITSANDBYTES and not integers):
        return None
    return Quantization(
        method,
        dict(sorted(integers.items())),
        f"a base quantised with {method} is known by name and fingerprint alone, since no written "
        "definition says to the bit what its codes mean",
    )


def _read_method(config: Mapping[str, Any]) -> str | None:
    """Return the method that a configuration names, in lower case."""
    settings = config.get("quantization_config")
    if not isinstance(settings, Mapping):
        return None
    method = settings.get("quant_method")
    if isinstance(method, str) and method:
        return method.lower()
    # transformers before 4.32 wrote no method; only bitsandbytes had these fields.
    if "load_in_4bit" in settings or "load_in_8bit" in settings:
        return _BITSANDBYTES
    return "unknown"


def _find_4bit(names: frozenset[str]) -> dict[str, QuantizedWeight]:
    found = {}
    for state in names:
        weight, separator, kind = state.partition(_STATE)
        if separator and kind in {Scheme.NF4, Scheme.FP4}:
            parts = {"codes": weight, "state": state}
            parts |= {part: f"{weight}.{part}" for part in _PARTS_OF_4BIT}
            held = {part: name for part, name in parts.items() if name in names}
            found[weight] = QuantizedWeight(weight, Scheme(kind), held)
    return found


def _find_int8(names: frozenset[str]) -> dict[str, QuantizedWeight]:
    found = {}
    for scale in names:
        if scale.endswith(_SCB):
            module = scale.removesuffix(_SCB)
            weight = module + _WEIGHT
            parts = {"codes": weight, "SCB": scale, "weight_format": f"{module}.weight_format"}
            held = {part: name for part, name in parts.items() if name in names}
            found[weight] = QuantizedWeight(weight, Scheme.INT8, held)
    return found


def _find_integers(names: frozenset[str], claimed: str | None) -> dict[str, QuantizedWeight]:
    """Return the weights that are packed as GPTQ and AWQ do it; the configuration tells which."""
    has_order = any(name.endswith(".g_idx") for name in names)
    scheme = Scheme.GPTQ if has_order else Scheme.AWQ
    if claimed in {Scheme.GPTQ, Scheme.AWQ}:
        scheme = Scheme(claimed)
    found = {}
    for codes in names:
        if codes.endswith(_QWEIGHT):
            module = codes.removesuffix(_QWEIGHT)
            parts = {part: f"{module}.{part}" for part in _PARTS_OF_INTEGERS}
            held = {part: name for part, name in parts.items() if name in names}
            found[module + _WEIGHT] = QuantizedWeight(module + _WEIGHT, scheme, held)
    return found


def _find_missing(weights: Mapping[str, QuantizedWeight]) -> str | None:
    """Return what a weight lacks that its codes mean nothing without."""
    for name, weight in sorted(weights.items()):
        needed = {"codes", "SCB"} if weight.scheme is Scheme.INT8 else {"codes", "absmax"}
        if "nested_absmax" in weight.parts or "nested_quant_map" in weight.parts:
            needed |= {"nested_absmax", "nested_quant_map"}
        missing = sorted(needed - weight.parts.keys())
        if missing:
            part = "the weight itself" if missing[0] == "codes" else f"its tensor {missing[0]}"
            return f"the quantised weight {name} lacks {part}: take a complete copy of the base"
    return None


def _find_conv1d(config: Mapping[str, Any]) -> str | None:
    """Return why models with Conv1D layers are not dequantised."""
    if not find_transposed(config):
        return None
    return (
        f"a quantised {config['model_type']} keeps its Conv1D weights transposed, other than the "
        "model whose names they have"
    )
