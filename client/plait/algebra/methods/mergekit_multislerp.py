"""The barycentre of task vectors on the sphere as mergekit's `multislerp` with a base model.

With u_i = D_i / |D_i| and w_i normalised to the sum 1 (`normalize`):

    m = sum_i w_i u_i / |sum_i w_i u_i|                 the point whose tangent plane is used
    v = sum_i w_i (u_i - <u_i, m> m)                    the mean in that plane
    D = (cos|v| m + sin|v| v / |v|) * sum_i w_i |D_i|   back on the sphere, and to the mean length

mergekit adds 1e-8 to |D_i| and to |v|. Two inputs whose weighted units cancel are added instead;
more of them are refused. A single input stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from plait.algebra.angles import cosine, sine
from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import NO_DIVISOR
from plait.errors import InvalidInput
from plait.model.recipe_methods import Value

_EPSILON = 1e-8


def coefficients(
    gram: Callable[[], Matrix],
    weights: Sequence[float],
    parameters: Mapping[str, Value],
) -> list[float]:
    """Return the coefficients.

    Raises:
        InvalidInput: `invalid-recipe`, weights or weighted directions cancel.
    """
    count = len(weights)
    if count == 1:
        return [1.0]
    shares = _shares(weights) if parameters["normalize"] is True else list(weights)
    products = gram()
    norms = [math.sqrt(products[i, i]) for i in range(count)]
    # Vectors are combinations of the D_i from here on, told by their coefficients.
    units = [1 / (norm + _EPSILON) for norm in norms]
    mean = [share * unit for share, unit in zip(shares, units, strict=True)]
    mean_norm = _norm(mean, products)
    if mean_norm < _EPSILON:
        if count == 2:
            return shares
        raise _cancelling("weighted directions", count)
    mean = [value / mean_norm for value in mean]
    lean = math.fsum(
        share * unit * _product(products, i, mean)
        for i, (share, unit) in enumerate(zip(shares, units, strict=True))
    )  # sum_i w_i <u_i, m>
    tangent = [shares[i] * units[i] - lean * mean[i] for i in range(count)]
    angle = _norm(tangent, products) + _EPSILON
    along, aside = cosine(angle), sine(angle) / angle
    length = math.fsum(share * norm for share, norm in zip(shares, norms, strict=True))
    return [(along * mean[i] + aside * tangent[i]) * length for i in range(count)]


def _shares(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    if abs(total) < NO_DIVISOR:
        raise _cancelling("weights", len(weights))
    return [weight / total for weight in weights]


def _product(products: Matrix, index: int, vector: Sequence[float]) -> float:
    """Return <D_index, sum_j c_j D_j>."""
    return math.fsum(float(products[index, j]) * value for j, value in enumerate(vector))


def _norm(vector: Sequence[float], products: Matrix) -> float:
    """Return |sum_i c_i D_i|; rounding may leave a square just below zero."""
    square = math.fsum(value * _product(products, i, vector) for i, value in enumerate(vector))
    return math.sqrt(max(0.0, square))


def _cancelling(what: str, count: int) -> InvalidInput:
    return InvalidInput(
        "invalid-recipe",
        f"The inputs' {what} cancel, so that there is no mean direction: change the weights, or "
        "take a method that adds deltas, as sum.",
        inputs=list(range(count)),
    )
