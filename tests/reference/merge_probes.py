"""Health figures and layer probes of a merged tensor, written plainly and in whole arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.arrays import decode
from plait.algebra.counter_random import uniforms


def norm_of_change(base: bytes, merged: bytes, dtype: str) -> float:
    """Return the norm of merged - base: 128 lanes in ascending order, folded in halves."""
    count = len(base) // (4 if dtype == "F32" else 2)
    old = decode(base, dtype, (count,), precision=np.float64)
    new = decode(merged, dtype, (count,), precision=np.float64)
    is_finite = np.isfinite(old) & np.isfinite(new)
    change = np.where(is_finite, new, 0.0) - np.where(is_finite, old, 0.0)
    squares = np.zeros(-(-count // 128) * 128)
    squares[:count] = change * change
    lanes = np.zeros(128)
    for row in squares.reshape(-1, 128):
        lanes = lanes + row
    return float(np.sqrt(fold_halves(lanes[None])[0]))


def probe(name: str, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return y of layer-probe-v1 for the values of a tensor, (rows, n)."""
    columns = rows.shape[1]
    x = np.array([(2 * int(u * 2**24) + 1 - 2**24) / 2**24 for u in uniforms(0, name, 0, columns)])
    padded = np.zeros((len(rows), max(8, 1 << (columns - 1).bit_length())))
    padded[:, :columns] = rows * x
    return fold_halves(padded)


def fold_halves(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of rows whose length is a power of two: (m, 2n) to (m, n) until n is 1."""
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        rows = rows[:, :half] + rows[:, half:]
    return rows[:, 0]
