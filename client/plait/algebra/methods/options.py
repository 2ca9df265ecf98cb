"""What an elementwise or factorwise method is told besides the deltas and their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import Matrix
from plait.model.recipe_methods import Value

Stack: TypeAlias = NDArray[np.float64]
"""Deltas of all inputs (k, out, in), C-contiguous."""
Uniforms: TypeAlias = Callable[[int, int, int], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementwiseOptions:
    """Parameters, randomness and the base for one tensor."""

    parameters: Mapping[str, Value]
    """By name; one that is absent and has no default, as `density`, is gone without."""
    uniforms: Uniforms
    """`uniforms(stream, start, count)`: numbers start .. start + count - 1 of a stream, in [0, 1).

    Bound to the recipe's seed and to the tensor's name; the stream is the input's index. Methods on
    factors take stream 2 i for A and 2 i + 1 for B. A piece has the numbers of the whole."""
    base: Matrix | None = None
    """The base's weight (out, in), for the methods that need it."""
    is_transposed: bool = False
    """The base stores the weight as (in, out), for the methods that look at its rows."""

    @property
    def density(self) -> float:
        """The part of the elements that is kept: 1 where the recipe has none."""
        return float(self.parameters.get("density", 1.0))

    def number(self, name: str) -> float:
        """Return a parameter that has a default, as a float."""
        return float(self.parameters[name])

    def choice(self, name: str) -> str:
        """Return one of a parameter's choices."""
        return str(self.parameters[name])

    def flag(self, name: str) -> bool:
        """Tell whether a parameter is on."""
        return self.parameters[name] is True
