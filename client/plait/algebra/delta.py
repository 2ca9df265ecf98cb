"""What an adapter does to one module of its base, in the few forms that compositions know.

Matrices are in the *adapter's orientation*, (out, in) as PEFT keeps its factors. Where the base
stores the weight the other way round (GPT-2's Conv1D, embeddings), `Placement` says so, and whoever
adds the delta to the weight transposes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.arrays import FloatArray
from plait.model.adapter_families import Effect

Matrix: TypeAlias = NDArray[np.float64]


class ModuleKind(StrEnum):
    """What kind of module is adapted, which decides the names of a LoRA's factors."""

    LINEAR = "linear"
    EMBEDDING = "embedding"
    CONV = "conv"


@dataclass(frozen=True, slots=True)
class Placement:
    """How a delta belongs to its module's weight."""

    kind: ModuleKind = ModuleKind.LINEAR
    fan_in_fan_out: bool = False
    """The base stores the weight of this linear module as (in, out)."""
    kernel: tuple[int, ...] = ()
    """Of a convolution, as (3, 3); its delta is (out, in * 3 * 3)."""

    @property
    def is_transposed(self) -> bool:
        """Whether the base stores the weight as (in, out)."""
        return self.fan_in_fan_out or self.kind is ModuleKind.EMBEDDING


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """gamma B A, never multiplied out."""

    B: FloatArray
    """(out, r), as it was saved."""
    A: FloatArray
    """(r, in), as it was saved."""
    gamma: float
    placement: Placement

    @property
    def shape(self) -> tuple[int, int]:
        """Of the delta, (out, in)."""
        return self.B.shape[0], self.A.shape[1]

    @property
    def rank(self) -> int:
        """Of the factors: an upper bound of the delta's."""
        return int(self.A.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A delta that does not depend on the base and has no thin factors."""

    compute: Callable[[], Matrix]
    """Returns a new array (out, in)."""
    shape: tuple[int, int]
    rank: int
    """What a LoRA in its place would reasonably have: the family's own r, say."""
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaOfShape:
    """A delta whose shape only the base tells: the adapter's tensors fit weights of many shapes."""

    given: Callable[[tuple[int, int]], LowRank | Dense]
    """Takes the shape of the module's weight, (out, in); raises InvalidInput where it cannot be."""
    rank: int
    """As of `Dense`."""
    placement: Placement
    largest: tuple[int, int] | None = None
    """The largest shape that the tensors fit, where there is one: two versions are compared so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionOfBase:
    """A change of the weight that only the weight itself tells."""

    apply: Callable[[Matrix], Matrix]
    """Takes the module's weight W (out, in), or (out, in, k...) of a convolution, and returns W'
    of the same shape as a new array."""
    shape: tuple[int | None, int | None]
    """(out, in); None for a side that only the weight tells."""
    rank: int
    """As of `Dense`."""
    placement: Placement
    apply_to_bias: Callable[[Matrix], Matrix] | None = None
    """Takes the base's bias (out,), where it has one, and returns the new one; None: unchanged."""
    find_factors: Callable[[Matrix], LowRank] | None = None
    """Takes W and returns W' - W by thin factors, where it has any."""
    product: LowRank | None = None
    """What its factors make before the weight comes in: two versions are compared by it."""


@dataclass(frozen=True, slots=True)
class NoDelta:
    """No weight of the base expresses what the adapter does here, or plait cannot tell."""

    effect: Effect
    reason: str
    """A clause for messages, as `prompt tuning puts virtual tokens before the input`."""
    product: LowRank | None = None
    """As of `FunctionOfBase`."""


Delta: TypeAlias = LowRank | Dense | DeltaOfShape | FunctionOfBase | NoDelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleChange:
    """All that one adapter does to one module."""

    module: str
    """Path in the base model; empty for what belongs to the model as a whole, such as a prompt."""
    delta: Delta | None = None
    bias: Matrix | None = None
    """What is added to the module's bias, (out,), gamma inside."""
    replacements: Mapping[str, str] = field(default_factory=dict)
    """Whole tensors that stand in for the base's: by part, as `weight`, the tensor's name."""
    names: frozenset[str] = frozenset()
    """The tensors that `delta` and `bias` were made of."""
