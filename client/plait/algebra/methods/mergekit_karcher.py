"""The mean direction of whole models on the sphere, as mergekit's `karcher`.

With X_i = W + D_i, u_i = X_i / |X_i| and p_i the weights' shares (mergekit has none: all 1/k), from
m = sum_i p_i u_i / |sum_i p_i u_i| at most `iterations` times, until |v| < tolerance:

    v = sum_i p_i (a_i / sin(a_i)) (u_i - cos(a_i) m),   cos(a_i) = <u_i, m>
    m = cos|v| m + sin|v| v / |v|,  then brought to length 1 again

    D = m sum_i p_i |X_i| - W

Angles a_i below the tolerance are left out. mergekit computes in the models' own dtype, and in
float32 no angle below 3e-4 can be told from zero, as those between adapters of one base mostly are:
its outcome then varies by rounding, now and then by much of D. In float64 it is what is computed
here. All vectors are combinations of the X_i, so they are told by coefficients, and what these are
computed from are the inner products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from plait.algebra.angles import arc_cosine, cosine, sine
from plait.algebra.delta import Matrix
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.whole_weights import combine_whole, inner_products, verify_given
from plait.errors import InvalidInput


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in).

    Raises:
        InvalidInput: `invalid-recipe`, a weight is not positive.
    """
    base = verify_given(options.base)
    shares = _shares(weights)
    products = inner_products(base, deltas)
    norms = [math.sqrt(products[i, i]) for i in range(len(shares))]
    tolerance = options.number("tolerance")
    valid = [index for index, norm in enumerate(norms) if norm > tolerance]
    if not valid:
        return -base
    mean = _find_mean(
        [[float(products[i, j]) / norms[i] / norms[j] for j in valid] for i in valid],
        _shares([shares[i] for i in valid]),
        iterations=int(options.number("iterations")),
        tolerance=tolerance,
    )
    length = _dot(shares, norms)
    of_units = dict(zip(valid, mean, strict=True))
    factors = [
        of_units[i] * length / norm if i in of_units else 0.0 for i, norm in enumerate(norms)
    ]
    return combine_whole(base, deltas, factors)


def _find_mean(
    cosines: Sequence[Sequence[float]],
    shares: Sequence[float],
    *,
    iterations: int,
    tolerance: float,
) -> list[float]:
    """Return m by its coefficients of the u_i, whose cosines are (k, k)."""
    mean = list(shares)
    length = _norm(mean, cosines)
    mean = [1.0] + [0.0] * (len(mean) - 1) if length < tolerance else _divide(mean, length)
    for _ in range(iterations):
        step = [0.0] * len(mean)
        for i, share in enumerate(shares):
            projection = min(1.0, max(-1.0, _dot(cosines[i], mean)))
            angle = arc_cosine(projection)
            if angle < tolerance:
                continue
            pull = share * (angle / sine(angle))
            step = [
                value - pull * projection * along for value, along in zip(step, mean, strict=True)
            ]
            step[i] += pull
        length = _norm(step, cosines)
        if length < tolerance:
            break
        along, aside = cosine(length), sine(length) / length
        mean = [along * m + aside * v for m, v in zip(mean, step, strict=True)]
        length = _norm(mean, cosines)
        if length > tolerance:
            mean = _divide(mean, length)
    return mean


def _shares(weights: Sequence[float]) -> list[float]:
    if min(weights) <= 0:
        raise InvalidInput(
            "invalid-recipe",
            f"A mean on the sphere needs positive weights, and they are {list(weights)}.",
            inputs=[index for index, weight in enumerate(weights) if weight <= 0],
        )
    return _divide(weights, math.fsum(weights))


def _divide(vector: Sequence[float], divisor: float) -> list[float]:
    return [value / divisor for value in vector]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(one, other, strict=True))


def _norm(vector: Sequence[float], cosines: Sequence[Sequence[float]]) -> float:
    """Return |sum_i c_i u_i|; rounding may leave a square just below zero."""
    square = _dot(vector, [_dot(row, vector) for row in cosines])
    return math.sqrt(max(0.0, square))
