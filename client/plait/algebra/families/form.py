"""What a family's file tells about itself: the tensors that it knows, and how to read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, Matrix

Parts: TypeAlias = Mapping[str, str]
"""By the part of a module, as `lora_A.weight`, the full name of its tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one family stores what it does."""

    find_delta: Callable[[AdapterTensors, str, Parts, Parts], Delta | None]
    """Takes an adapter, a module, the module's parts and the model's shared ones, and returns what
    the parts do to the module's weight: None where they leave it alone."""
    parts: frozenset[str] | None = None
    """The parts of a module that the family knows; None: any."""
    shared: frozenset[str] = frozenset()
    """The parts that belong to the model as a whole and are read for every module."""
    find_bias: Callable[[AdapterTensors, str, Parts, Parts], Matrix | None] | None = None
    """Takes the same and returns what is added to the module's bias, (out,)."""
    replaces: Mapping[str, str] = field(default_factory=dict)
    """Parts that stand in for a tensor of the base, as `weight`, whole."""
    beside: frozenset[str] = frozenset()
    """The parts that are no factors of the delta, as biases: versions are compared by them too."""
