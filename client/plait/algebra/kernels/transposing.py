"""Columns to rows and back: numpy's strided copies take ten times as long for thin matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Matrix = NDArray[np.float64]


@kernel
def store_columns(B: NDArray[np.floating], rows: Matrix) -> None:
    """Write the columns of B (m, r), in any float dtype, as rows (r, m or more)."""
    for i in range(B.shape[0]):
        for p in range(B.shape[1]):
            rows[p, i] = B[i, p]


@kernel
def gather_columns(rows: Matrix, signs: NDArray[np.float64], B: Matrix) -> None:
    """Write rows (r, m or more), each times its sign, as the columns of B (m, r)."""
    for i in range(B.shape[0]):
        for p in range(B.shape[1]):
            B[i, p] = rows[p, i] * signs[p]
