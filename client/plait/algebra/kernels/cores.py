"""The small matrix between the Q of both sides: C = R_B diag(g) R_A^T, and its scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@kernel
def form_core(left: Matrix, g: Vector, right: Matrix, W: Matrix) -> None:
    """Add C to W, which holds C's columns as rows.

    C[i, c] is the sum over p from max(i, c), ascending, of (R_B[i, p] g_p) R_A[c, p]. `left` and
    `right` hold the columns of R_B and R_A as rows, as `householder.factor` writes them.
    """
    count = left.shape[0]
    scaled = np.empty(left.shape)
    for p in range(count):
        for i in range(left.shape[1]):
            scaled[p, i] = left[p, i] * g[p]
    for c in range(right.shape[1]):
        column = W[c]
        for p in range(c, count):
            factor = right[p, c]
            for i in range(min(p + 1, left.shape[1])):
                column[i] = column[i] + scaled[p, i] * factor


@kernel
def find_scale(left: Matrix, g: Vector, right: Matrix) -> float:
    """Return the sum over p, ascending, of |g_p| |B_p| |A_p|: the norm before any cancellation."""
    scale = 0.0
    for p in range(left.shape[0]):
        scale = scale + abs(g[p]) * (np.sqrt(_square(left[p])) * np.sqrt(_square(right[p])))
    return scale


@kernel
def _square(x: Vector) -> float:
    total = 0.0
    for i in range(x.size):
        total = total + x[i] * x[i]
    return total
