"""Rows times a vector, each summed as one fixed tree of pairs, read as they pass by.

A row is padded with zeros to the length of x, a power of two from 8 on. Each product of two
float32 is exact in float64; then the upper half is added to the lower one until one sum is left:
v[j] += v[j + h]. The first three foldings share one pass over the row, which meets the same pairs,
so that an eighth of the row is written down and not all of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel
from plait.algebra.kernels.widening import Codes16, Codes32, widen_bf16, widen_f16

Vector = NDArray[np.float64]
Floats = NDArray[np.float32]

_NAN = np.float64(np.nan)
# Unsigned, since a sign would be tested at each access and keep the loop from being vectorised.
_2, _3, _4 = np.uint64(2), np.uint64(3), np.uint64(4)
_5, _6, _7 = np.uint64(5), np.uint64(6), np.uint64(7)


@kernel
def probe_f32(codes: Codes32, x: Floats, y: Vector) -> None:
    """Write the products of float32 rows with x: codes (rows, columns), x (P,), y (rows,)."""
    row, sums = np.zeros(x.size, np.uint32), np.empty(x.size // 8)
    for i in range(y.size):
        row[: codes.shape[1]] = codes[i]
        y[i] = _fold_products(row.view(np.float32), x, sums)


@kernel
def probe_bf16(codes: Codes16, x: Floats, y: Vector) -> None:
    """Do the same with rows of bfloat16."""
    row, sums = np.zeros(x.size, np.uint32), np.empty(x.size // 8)
    for i in range(y.size):
        widen_bf16(codes[i], row)
        y[i] = _fold_products(row.view(np.float32), x, sums)


@kernel
def probe_f16(codes: Codes16, x: Floats, y: Vector) -> None:
    """Do the same with rows of binary16."""
    row, sums = np.zeros(x.size, np.uint32), np.empty(x.size // 8)
    for i in range(y.size):
        widen_f16(codes[i], row)
        y[i] = _fold_products(row.view(np.float32), x, sums)


@kernel
def _fold_products(row: Floats, x: Floats, sums: Vector) -> float:
    """Return the sum of row * x, both (P,); `sums` is (P / 8,) of working memory."""
    d = np.float64
    h = np.uint64(sums.size)
    for j in range(h):
        a = d(row[j]) * d(x[j]) + d(row[j + _4 * h]) * d(x[j + _4 * h])
        b = d(row[j + h]) * d(x[j + h]) + d(row[j + _5 * h]) * d(x[j + _5 * h])
        c = d(row[j + _2 * h]) * d(x[j + _2 * h]) + d(row[j + _6 * h]) * d(x[j + _6 * h])
        e = d(row[j + _3 * h]) * d(x[j + _3 * h]) + d(row[j + _7 * h]) * d(x[j + _7 * h])
        sums[j] = (a + c) + (b + e)
    half = sums.size // 2
    while half > 0:
        lower, upper = sums[:half], sums[half : 2 * half]
        for j in range(half):
            lower[j] = lower[j] + upper[j]
        half //= 2
    # Machines give NaNs of other signs and payloads: one stands for all.
    return sums[0] if sums[0] == sums[0] else _NAN
