"""Lengths, directions and shares of deltas, from their inner products alone.

A direction is a delta divided by its Frobenius norm: a point of the unit sphere. Deltas are never
looked at: `gram` holds all that there is to know about angles between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plait.algebra.delta import Matrix
from plait.errors import InvalidInput

PARALLEL = 1.0 - 2.0**-50
"""A cosine from which on an arc is a straight line: what that leaves out of a coefficient is below
0.13 times 1 - cosine, so less than its last digit."""
OPPOSITE = -1.0 + 2.0**-30
"""A cosine below which two directions are opposite, 4.3e-5 radians from it or less: the plane in
which the arc lies would be decided by the rounding of the inputs."""


@dataclass(frozen=True, slots=True)
class Directions:
    """Deltas as lengths and directions; those of weight zero are left out."""

    indices: tuple[int, ...]
    """Which of the inputs these are."""
    shares: tuple[float, ...]
    """Their weights, divided by the weights' sum."""
    norms: tuple[float, ...]
    cosines: Matrix
    """Between the directions (k, k): within [-1, 1], exactly 1 on the diagonal."""

    def scale_to_mean_norm(self, combination: Sequence[float], count: int) -> list[float]:
        """Return coefficients of all `count` inputs' deltas for a combination of directions.

        The combination, of length 1, is stretched to the mean norm by the shares.
        """
        mean = 0.0
        for share, norm in zip(self.shares, self.norms, strict=True):
            mean += share * norm
        coefficients = [0.0] * count
        for index, part, norm in zip(self.indices, combination, self.norms, strict=True):
            coefficients[index] = mean * part / norm
        return coefficients


def find_directions(method: str, gram: Matrix, weights: Sequence[float]) -> Directions:
    """Return the directions of the inputs with a weight; `gram` is (k, k).

    Raises:
        InvalidInput: `invalid-recipe`, a weight is negative or all are zero; `delta-zero`, a delta
            has no direction. `details["inputs"]` has the indices.
    """
    negative = [index for index, weight in enumerate(weights) if weight < 0.0]
    indices = tuple(index for index, weight in enumerate(weights) if weight > 0.0)
    if negative or not indices:
        raise InvalidInput(
            "invalid-recipe",
            f"The method {method} shares an arc out by weights that are positive or zero, and not "
            f"all zero, and these are {list(weights)}: for a negative weight use the method sum.",
            inputs=negative or list(range(len(weights))),
        )
    without = [index for index in indices if not gram[index, index] > 0.0]
    if without:
        raise InvalidInput(
            "delta-zero",
            f"The method {method} turns deltas towards each other, and a delta of zero has no "
            "direction: leave it out, or give it a weight of zero here.",
            inputs=without,
        )
    norms = tuple(math.sqrt(gram[index, index]) for index in indices)
    total = 0.0
    for index in indices:
        total += weights[index]
    cosines = np.ones((len(indices), len(indices)))
    for i, row in enumerate(indices):
        for j, column in enumerate(indices[:i]):
            cosine = float(gram[row, column]) / norms[i] / norms[j]
            cosines[i, j] = cosines[j, i] = min(1.0, max(-1.0, cosine))
    return Directions(indices, tuple(weights[index] / total for index in indices), norms, cosines)


def opposite(method: str, inputs: Sequence[int]) -> InvalidInput:
    """Return the error that inputs point in opposite directions."""
    return InvalidInput(
        "invalid-input",
        f"The method {method} finds no way between deltas that point in opposite directions: there "
        "are many, and none is the shortest. Use the method sum, or leave one of them out.",
        inputs=list(inputs),
    )
