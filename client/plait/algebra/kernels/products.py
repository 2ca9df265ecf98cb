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
    """Add X Y to `out`, term by term with k ascending.

    Rows are cut out of whole matrices, not of parts of them: numba knows only then that their
    numbers lie side by side, and the innermost loop becomes vectors (four times as fast).
    """
    rows, inner = X.shape
    columns = Y.shape[1]
    whole = rows - rows % 4
    for left in range(0, columns, COLUMN_BLOCK):
        span = (left, min(left + COLUMN_BLOCK, columns))
        for first in range(0, inner, INNER_BLOCK):
            terms = (first, min(first + INNER_BLOCK, inner))
            for i in range(0, whole, 4):
                _add_terms_to_four(X, Y, out, i, terms, span)
            for i in range(whole, rows):
                _add_terms(X, Y, out, i, terms, span)


@kernel
def _add_terms_to_four(
    X: Matrix, Y: Matrix, out: Matrix, i: int, terms: tuple[int, int], span: tuple[int, int]
) -> None:
    """Add X Y to the rows from i. Four terms share the loads of each sum, four rows those of Y."""
    first, last = terms
    left, right = span
    o0, o1 = out[i, left:right], out[i + 1, left:right]
    o2, o3 = out[i + 2, left:right], out[i + 3, left:right]
    whole = last - (last - first) % 4
    for k in range(first, whole, 4):
        a0, a1, a2, a3 = X[i, k], X[i, k + 1], X[i, k + 2], X[i, k + 3]
        b0, b1, b2, b3 = X[i + 1, k], X[i + 1, k + 1], X[i + 1, k + 2], X[i + 1, k + 3]
        c0, c1, c2, c3 = X[i + 2, k], X[i + 2, k + 1], X[i + 2, k + 2], X[i + 2, k + 3]
        d0, d1, d2, d3 = X[i + 3, k], X[i + 3, k + 1], X[i + 3, k + 2], X[i + 3, k + 3]
        y0, y1 = Y[k, left:right], Y[k + 1, left:right]
        y2, y3 = Y[k + 2, left:right], Y[k + 3, left:right]
        for j in range(right - left):
            p, q, r, s = y0[j], y1[j], y2[j], y3[j]
            o0[j] = (((o0[j] + a0 * p) + a1 * q) + a2 * r) + a3 * s
            o1[j] = (((o1[j] + b0 * p) + b1 * q) + b2 * r) + b3 * s
            o2[j] = (((o2[j] + c0 * p) + c1 * q) + c2 * r) + c3 * s
            o3[j] = (((o3[j] + d0 * p) + d1 * q) + d2 * r) + d3 * s
    for row in range(i, i + 4):
        _add_terms(X, Y, out, row, (whole, last), span)


@kernel
def _add_terms(
    X: Matrix, Y: Matrix, out: Matrix, i: int, terms: tuple[int, int], span: tuple[int, int]
) -> None:
    """Add X Y to row i. Four terms share one load and store of each sum."""
    first, last = terms
    left, right = span
    sums = out[i, left:right]
    whole = last - (last - first) % 4
    for k in range(first, whole, 4):
        x0, x1, x2, x3 = X[i, k], X[i, k + 1], X[i, k + 2], X[i, k + 3]
        y0, y1 = Y[k, left:right], Y[k + 1, left:right]
        y2, y3 = Y[k + 2, left:right], Y[k + 3, left:right]
        for j in range(right - left):
            sums[j] = (((sums[j] + x0 * y0[j]) + x1 * y1[j]) + x2 * y2[j]) + x3 * y3[j]
    for k in range(whole, last):
        x0 = X[i, k]
        y0 = Y[k, left:right]
        for j in range(right - left):
            sums[j] = sums[j] + x0 * y0[j]
