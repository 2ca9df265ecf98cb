"""Model Stock as mergekit's `model_stock`: the mean of task vectors, shortened by their angles.

    c = the mean of cos(D_i, D_j) over all pairs;   t = k c / (1 + (k - 1) c)
    D = t * (D_1 + ... + D_k) / k

Where |1 + (k - 1) c| < 1e-6 the outcome is zero. It has no weights. mergekit divides by |D_i| |D_j|
or by 1e-6, whichever is larger, so that between small task vectors every angle looks right and the
outcome vanishes; the numbers here are the same. `filter_wise` is not offered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import verify_equal
from plait.model.recipe_methods import Value

_LEAST_PRODUCT = 1e-6
"""Of two norms (model_stock.py)."""
_SINGULAR = 1e-6


def coefficients(
    gram: Callable[[], Matrix],
    weights: Sequence[float],
    parameters: Mapping[str, Value],  # noqa: ARG001 - it has none
) -> list[float]:
    """Return the same coefficient for every input.

    Raises:
        InvalidInput: `invalid-recipe`, the weights differ.
    """
    verify_equal(weights, "mergekit_model_stock")
    count = len(weights)
    products = gram()
    norms = [math.sqrt(products[i, i]) for i in range(count)]
    cosines = []
    for i in range(count):
        for j in range(i):
            cosine = float(products[i, j]) / max(norms[i] * norms[j], _LEAST_PRODUCT)
            cosines.append(min(1.0, max(-1.0, cosine)))
    mean = math.fsum(cosines) / len(cosines)
    divisor = 1 + (count - 1) * mean
    ratio = 0.0 if abs(divisor) < _SINGULAR else count * mean / divisor
    return [ratio / count] * count
