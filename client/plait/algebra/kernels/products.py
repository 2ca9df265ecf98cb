"""Matrix products in float64 whose sums run over k ascending, from +0.0, without an FMA.

    (X Y)[i, j] = ((0 + X[i,0] Y[0,j]) + X[i,1] Y[1,j]) + ...

Blocks only decide which element is worked on next. The innermost loop runs over j, which are
separate sums, so vectors of any width give the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Matrix = NDArray[np.float64]

COLUMN_BLOCK = 512
"""Columns at once: 4 KiB of one row. Nine of them fit into a first-level cache of 48 KiB."""
INNER_BLOCK = 64
"""Terms at once: a panel of 64 rows of Y, 256 KiB, stays in the second-level cache."""


def multiply(X: Matrix, Y: Matrix) -> Matrix:
    """Return X Y: (m, r) times (r, n) is (m, n)."""
    product = np.zeros((X.shape[0], Y.shape[1]))
    add_product(_rows(X), _rows(Y), product)
    return product


def _rows(matrix: Matrix) -> Matrix:
    return np.ascontiguousarray(matrix, np.float64)


@kernel
def add_product(X: Matrix, Y: Matrix, out: Matrix) -> None:
    """Add X Y to `out`, term by term with k ascending."""
    rows, inner = X.shape
    columns = Y.shape[1]
    for left in range(0, columns, COLUMN_BLOCK):
        right = min(left + COLUMN_BLOCK, columns)
        for first in range(0, inner, INNER_BLOCK):
            last = min(first + INNER_BLOCK, inner)
            for i in range(rows):
                _add_terms(X[i, first:last], Y[first:last, left:right], out[i, left:right])


@kernel
def _add_terms(x: Matrix, Y: Matrix, out: Matrix) -> None:
    """Add x Y to one row. Eight terms share one load and store of each sum."""
    inner, columns = Y.shape
    whole = inner - inner % 8
    for k in range(0, whole, 8):
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        x4, x5, x6, x7 = x[k + 4], x[k + 5], x[k + 6], x[k + 7]
        y0, y1, y2, y3 = Y[k], Y[k + 1], Y[k + 2], Y[k + 3]
        y4, y5, y6, y7 = Y[k + 4], Y[k + 5], Y[k + 6], Y[k + 7]
        for j in range(columns):
            total = out[j] + x0 * y0[j]
            total = total + x1 * y1[j]
            total = total + x2 * y2[j]
            total = total + x3 * y3[j]
            total = total + x4 * y4[j]
            total = total + x5 * y5[j]
            total = total + x6 * y6[j]
            out[j] = total + x7 * y7[j]
    for k in range(whole, inner):
        x0 = x[k]
        y0 = Y[k]
        for j in range(columns):
            out[j] = out[j] + x0 * y0[j]
