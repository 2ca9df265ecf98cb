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


@kernel
def dot_lanes(x: Matrix, y: Matrix, lanes: Vector) -> float:
    """Return x . y of two (T, 128); `lanes` is (128,) of working memory."""
    for lane in range(LANES):
        lanes[lane] = 0.0
    add_products(x, y, lanes)
    return fold(lanes)


@kernel
def add_products(x: Matrix, y: Matrix, lanes: Vector) -> None:
    """Add the products of two (T, 128) to the lanes; four rows share a load of each sum."""
    steps = x.shape[0]
    whole = steps - steps % 4
    for t in range(0, whole, 4):
        for lane in range(LANES):
            total = lanes[lane] + x[t, lane] * y[t, lane]
            total = total + x[t + 1, lane] * y[t + 1, lane]
            total = total + x[t + 2, lane] * y[t + 2, lane]
            lanes[lane] = total + x[t + 3, lane] * y[t + 3, lane]
    for t in range(whole, steps):
        for lane in range(LANES):
            lanes[lane] = lanes[lane] + x[t, lane] * y[t, lane]


@kernel
def add_products_of_two(x: Matrix, y: Matrix, z: Matrix, ly: Vector, lz: Vector) -> None:
    """Add the products of x with y and of x with z to lanes of their own."""
    steps = x.shape[0]
    whole = steps - steps % 2
    for t in range(0, whole, 2):
        for lane in range(LANES):
            a, b = x[t, lane], x[t + 1, lane]
            ly[lane] = (ly[lane] + a * y[t, lane]) + b * y[t + 1, lane]
            lz[lane] = (lz[lane] + a * z[t, lane]) + b * z[t + 1, lane]
    for t in range(whole, steps):
        for lane in range(LANES):
            ly[lane] = ly[lane] + x[t, lane] * y[t, lane]
            lz[lane] = lz[lane] + x[t, lane] * z[t, lane]


@kernel
def fold(lanes: Vector) -> float:
    """Return the sum of 128 lanes, which it overwrites."""
    half = LANES // 2
    while half > 0:
        for lane in range(half):
            lanes[lane] = lanes[lane] + lanes[lane + half]
        half //= 2
    return lanes[0]


@kernel
def dot_8(x: Vector, y: Vector) -> float:
    """Return x . y of two vectors whose length is a multiple of 8."""
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = 0.0
    for t in range(0, x.size, 8):
        a0 = a0 + x[t] * y[t]
        a1 = a1 + x[t + 1] * y[t + 1]
        a2 = a2 + x[t + 2] * y[t + 2]
        a3 = a3 + x[t + 3] * y[t + 3]
        a4 = a4 + x[t + 4] * y[t + 4]
        a5 = a5 + x[t + 5] * y[t + 5]
        a6 = a6 + x[t + 6] * y[t + 6]
        a7 = a7 + x[t + 7] * y[t + 7]
    return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))
