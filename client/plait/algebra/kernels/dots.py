"""Dot products in lanes: a fixed order of summation that vector units are fast at.

Lane l sums the products l, l + n, l + 2n, ... in ascending order from +0.0, then halves are folded
until one sum is left: acc[l] += acc[l + h] for h = n/2, n/4, ..., 1. Zeros at the end change
nothing, so vectors are stored padded.

- `dot_lanes`: n = 128, for vectors as long as a side of a weight. They are stored as (T, 128).
- `dot_8`: n = 8, for vectors as long as a rank. They are stored in a multiple of 8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

LANES = 128
_STRIDE = 4 * LANES
# Unsigned, since a sign would be tested at each access and keep the loop from being vectorised.
_LANES = np.uint64(LANES)
_1, _2, _3 = np.uint64(LANES), np.uint64(2 * LANES), np.uint64(3 * LANES)
_8 = np.uint64(8)
_LANE = tuple(np.uint64(lane) for lane in range(8))


@kernel
def dot_lanes(x: Matrix, y: Matrix, lanes: Vector) -> float:
    """Return x . y of two (T, 128); `lanes` is (128,) of working memory."""
    lanes[:] = 0.0
    add_products(x, y, lanes)
    return fold(lanes)


@kernel
def add_products(x: Matrix, y: Matrix, lanes: Vector) -> None:
    """Add the products of two (T, 128) to the lanes; four rows share a load of each sum."""
    size = x.size
    flat_x, flat_y = x.reshape(size), y.reshape(size)
    strided = size - size % _STRIDE
    for start in range(0, strided, _STRIDE):
        a, b = flat_x[start : start + _STRIDE], flat_y[start : start + _STRIDE]
        for lane in range(_LANES):
            total = lanes[lane] + a[lane] * b[lane]
            total = total + a[lane + _1] * b[lane + _1]
            total = total + a[lane + _2] * b[lane + _2]
            lanes[lane] = total + a[lane + _3] * b[lane + _3]
    for start in range(strided, size, LANES):
        a, b = flat_x[start : start + LANES], flat_y[start : start + LANES]
        for lane in range(LANES):
            lanes[lane] = lanes[lane] + a[lane] * b[lane]


@kernel
def fold(lanes: Vector) -> float:
    """Return the sum of 128 lanes, which it overwrites."""
    # Loops of constant length compile to a few instructions each.
    for lane in range(64):
        lanes[lane] = lanes[lane] + lanes[lane + 64]
    for lane in range(32):
        lanes[lane] = lanes[lane] + lanes[lane + 32]
    for lane in range(16):
        lanes[lane] = lanes[lane] + lanes[lane + 16]
    for lane in range(8):
        lanes[lane] = lanes[lane] + lanes[lane + 8]
    a, b = lanes[0] + lanes[4], lanes[1] + lanes[5]
    c, d = lanes[2] + lanes[6], lanes[3] + lanes[7]
    total: float = (a + c) + (b + d)
    return total


@kernel
def dot_8(x: Vector, y: Vector) -> float:
    """Return x . y of two vectors whose length is a multiple of 8."""
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = 0.0
    for t in range(np.uint64(0), np.uint64(x.size), _8):
        a0 = a0 + x[t] * y[t]
        a1 = a1 + x[t + _LANE[1]] * y[t + _LANE[1]]
        a2 = a2 + x[t + _LANE[2]] * y[t + _LANE[2]]
        a3 = a3 + x[t + _LANE[3]] * y[t + _LANE[3]]
        a4 = a4 + x[t + _LANE[4]] * y[t + _LANE[4]]
        a5 = a5 + x[t + _LANE[5]] * y[t + _LANE[5]]
        a6 = a6 + x[t + _LANE[6]] * y[t + _LANE[6]]
        a7 = a7 + x[t + _LANE[7]] * y[t + _LANE[7]]
    total: float = ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))
    return total
