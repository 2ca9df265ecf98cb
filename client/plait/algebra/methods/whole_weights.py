"""Whole weights W + D_i where a method of mergekit does not reduce to the deltas.

Any combination sum_i c_i (W + D_i) changes the base by sum_i c_i D_i + (sum_i c_i - 1) W. Nothing
whole is held: the weights are added up block by block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from plait.algebra.delta import Matrix
from plait.algebra.methods.masked import blocks, flat, sum_by_lanes
from plait.algebra.methods.options import Stack
from plait.errors import Internal


def verify_given(base: Matrix | None) -> Matrix:
    """Return the base's weight, which the caller has to hand over for these methods."""
    if base is None:
        raise Internal("internal", "A method that works on whole weights got no base.")
    return base


def inner_products(base: Matrix, deltas: Stack) -> Matrix:
    """Return <W + D_i, W + D_j> (k, k) for W (out, in) and D (k, out, in)."""
    whole, parts = flat(base), [flat(delta) for delta in deltas]
    products = np.empty((len(parts), len(parts)))
    for i, one in enumerate(parts):
        for j, other in enumerate(parts[: i + 1]):
            products[i, j] = products[j, i] = _inner_product(whole, one, other)
    return products


def combine_whole(base: Matrix, deltas: Stack, coefficients: Sequence[float]) -> Matrix:
    """Return sum_i c_i (W + D_i) - W (out, in)."""
    whole, parts = flat(base), [flat(delta) for delta in deltas]
    surplus = math.fsum([*coefficients, -1.0])
    outcome = np.empty(whole.size)
    for block in blocks(whole.size):
        total = whole[block] * surplus
        for part, coefficient in zip(parts, coefficients, strict=True):
            total += part[block] * coefficient
        outcome[block] = total
    return outcome.reshape(base.shape)


def _inner_product(whole: Matrix, one: Matrix, other: Matrix) -> float:
    return sum_by_lanes(
        lambda part: (whole[part] + one[part]) * (whole[part] + other[part]), whole.size
    )
