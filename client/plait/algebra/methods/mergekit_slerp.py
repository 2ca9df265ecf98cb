"""Between two whole models along the arc, as mergekit's `slerp` with the first as its base model.

With X_i = W + D_i, t = w_2 / (w_1 + w_2) and cos(a) = <X_1, X_2> / (|X_1| |X_2|):

    D = (sin((1 - t) a) X_1 + sin(t a) X_2) / sin(a) - W,   or where |cos(a)| > 0.9995
    D = (1 - t) D_1 + t D_2

Adapters turn a weight so little that nearly always the second line holds; `slerp` interpolates the
deltas themselves. Norms of 1e-8 and less are not divided by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from plait.algebra.angles import arc_cosine, sine
from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import NO_DIVISOR
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.whole_weights import combine_whole, inner_products, verify_given
from plait.errors import InvalidInput

_NEARLY_COLLINEAR = 0.9995
"""slerp.py: dot_threshold."""
_NO_NORM = 1e-8


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (2, out, in).

    Raises:
        InvalidInput: `invalid-recipe`, the weights cancel.
    """
    base = verify_given(options.base)
    total = math.fsum(weights)
    if abs(total) < NO_DIVISOR:
        raise InvalidInput(
            "invalid-recipe",
            f"The place on the arc is w_2 / (w_1 + w_2), and {list(weights)} add up to zero.",
            inputs=[0, 1],
        )
    t = weights[1] / total
    products = inner_products(base, deltas)
    norms = [math.sqrt(products[i, i]) for i in range(2)]
    length_1, length_2 = (norm if norm > _NO_NORM else 1.0 for norm in norms)
    cosine = min(1.0, max(-1.0, float(products[0, 1]) / length_1 / length_2))
    if abs(cosine) > _NEARLY_COLLINEAR:
        middle: Matrix = deltas[0] * (1 - t) + deltas[1] * t
        return middle
    angle = arc_cosine(cosine)
    shares = [sine((1 - t) * angle) / sine(angle), sine(t * angle) / sine(angle)]
    return combine_whole(base, deltas, shares)
