"""Spherical interpolation of two task vectors as mergekit's `nuslerp` with a base model.

    t = w_2 / (w_1 + w_2),  or 1/2 where the weights cancel;   cos(a) = <D_1, D_2> / (|D_1| |D_2|)
    D = (sin((1 - t) a) D_1 + sin(t a) D_2) / sin(a)

The inputs are not brought to one length before. Where they are parallel or opposite the outcome is
linear, (1 - t) D_1 + t D_2. This is mergekit's `nuslerp_flatten: true`, its default: one angle for
a whole tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from plait.algebra.angles import arc_cosine, sine
from plait.algebra.delta import Matrix
from plait.model.recipe_methods import Value

_NO_TOTAL = 1e-6
"""Below this the weights count as cancelling (nuslerp.py)."""
_LEAST_NORM = 1e-7
"""That a task vector is divided by."""
_COLLINEAR = 1e-14
"""Of 1 - cos^2: at most this. mergekit has 1e-16, which rounding hides: between opposites its
outcome is whatever that leaves, and between parallels both formulas give the same."""


def coefficients(
    gram: Callable[[], Matrix],
    weights: Sequence[float],
    parameters: Mapping[str, Value],  # noqa: ARG001 - it has none
) -> list[float]:
    """Return the two coefficients."""
    total = weights[0] + weights[1]
    t = 0.5 if abs(total) < _NO_TOTAL else weights[1] / total
    products = gram()
    length_1, length_2 = (max(math.sqrt(products[i, i]), _LEAST_NORM) for i in range(2))
    cosine = min(1.0, max(-1.0, float(products[0, 1]) / length_1 / length_2))
    if 1 - cosine * cosine <= _COLLINEAR:
        return [1 - t, t]
    angle = arc_cosine(cosine)
    return [sine((1 - t) * angle) / sine(angle), sine(t * angle) / sine(angle)]
