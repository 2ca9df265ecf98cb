"""A LoRA of one module, in no layout, and what a conversion is asked and answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plait.algebra.outcome import EncodedTensor
from plait.algebra.relayout.stacked_factors import Pair
from plait.errors import InvalidInput
from plait.model.key_layouts.forms import Architecture, Component, Part
from plait.model.key_layouts.peft import Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayoutOptions:
    """What the names alone may not tell."""

    modules: Collection[str] = ()
    """The model's module paths, where they are known, with the component in front or without."""
    architecture: Architecture | None = None
    component: Component | None = None
    """Whose modules PEFT's names are, where they do not say it; of a pipeline's file to PEFT, the
    one component that is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayout:
    """The same LoRA in another layout."""

    tensors: tuple[EncodedTensor, ...]
    """Sorted by name."""
    config: Mapping[str, Any] | None = None
    """The fields of `adapter_config.json`, in PEFT's layout."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of the safetensors file."""
    rounded: Mapping[str, float] = field(default_factory=dict)
    """Modules whose factor of scale was rounded, with the relative error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraModule:
    """The LoRA of one module."""

    component: Component | None
    """None where neither the names nor the options tell."""
    path: str
    """As diffusers and transformers name it, without the component."""
    pair: Pair
    scale: Scale
    others: Mapping[Part, EncodedTensor] = field(default_factory=dict)
    """Beside the factors: a bias, a magnitude."""

    @property
    def tensors(self) -> dict[Part, EncodedTensor]:
        """All of them."""
        return {Part.A: self.pair.A, Part.B: self.pair.B, **self.others}


def sort_tensors(tensors: Sequence[EncodedTensor]) -> tuple[EncodedTensor, ...]:
    """Return tensors by name."""
    return tuple(sorted(tensors, key=lambda tensor: tensor.name))


def refuse_two_names(path: str, name: str) -> InvalidInput:
    """Return the error for a module that a file holds twice."""
    return InvalidInput(
        "invalid-safetensors",
        f"{path} occurs twice under different names, one of them {name!r:.200}: keep one naming "
        "convention in a file.",
        module=path,
    )
