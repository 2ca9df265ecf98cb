"""Columns to rows and back: numpy's strided copies take ten times as long for thin matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Matrix = NDArray[np.float64]


_BLOCK = 64
"""Rows of a thin matrix at once, which stay in the cache until all their columns are done."""


@kernel
def store_columns(B: NDArray[np.floating], rows: Matrix) -> None:
    """Write the columns of B (m, r), in any float dtype, as rows (r, m or more)."""
    for start in range(0, B.shape[0], _BLOCK):
        stop = min(start + _BLOCK, B.shape[0])
        for p in range(B.shape[1]):
            row = rows[p]
            for i in range(start, stop):
                row[i] = B[i, p]


@kernel
def gather_columns(rows: Matrix, signs: NDArray[np.float64], B: Matrix) -> None:
    """Write rows (r, m or more), each times its sign, as the columns of B (m, r)."""
    for start in range(0, B.shape[0], _BLOCK):
        stop = min(start + _BLOCK, B.shape[0])
        for p in range(B.shape[1]):
            row, sign = rows[p], signs[p]
            for i in range(start, stop):
                B[i, p] = row[i] * sign


@kernel
def find_signs(rows: Matrix) -> NDArray[np.float64]:
    """Return for each row the sign, 1 or -1, of its largest element: of equal ones, the first."""
    signs = np.ones(rows.shape[0])
    for p in range(rows.shape[0]):
        row = rows[p]
        largest = 0
        for i in range(1, row.size):
            if abs(row[i]) > abs(row[largest]):
                largest = i
        if row[largest] < 0.0:
            signs[p] = -1.0
    return signs
