"""One-sided Jacobi: a small matrix W becomes U S, and V gathers the rotations.

Columns are stored as rows, padded with zeros to a multiple of 8, so that W V^T stays what it was.
Hestenes, https://doi.org/10.1137/0106005; Demmel and Veselic, "Jacobi's method is more accurate
than QR", https://doi.org/10.1137/0613074.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel
from plait.algebra.kernels.dots import dot_8

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

MOST_SWEEPS = 60
"""Eleven was the most ever seen."""
_ORTHOGONAL = 2.0**-46
"""Columns whose cosine is no larger count as orthogonal."""


@kernel
def diagonalise(W: Matrix, V: Matrix, negligible: float) -> int:
    """Rotate pairs of columns, cyclically, until all are orthogonal; return the sweeps.

    Columns whose squared norm is at most `negligible` are left alone. Returns -1 where
    MOST_SWEEPS did not suffice, which no finite input is known to do.
    """
    width = W.shape[1]
    # Side by side, so that one loop swaps or rotates a column of both.
    Z = np.empty((W.shape[0], width + V.shape[1]))
    Z[:, :width] = W
    Z[:, width:] = V
    sweeps = _sweep(Z, width, find_squares(W), negligible)
    W[:] = Z[:, :width]
    V[:] = Z[:, width:]
    return sweeps


@kernel
def _sweep(Z: Matrix, width: int, squares: Vector, negligible: float) -> int:
    """Rotate rows of Z, the first `width` elements of which are a column of W, the rest of V."""
    count = Z.shape[0]
    for sweep in range(MOST_SWEEPS):
        rotations = 0
        for p in range(count - 1):
            a, w_a = Z[p], Z[p, :width]
            for q in range(p + 1, count):
                b, w_b = Z[q], Z[q, :width]
                if squares[p] < squares[q]:
                    _swap(a, b)
                    squares[p], squares[q] = squares[q], squares[p]
                aa, bb = squares[p], squares[q]
                if bb <= negligible:
                    continue
                ab = dot_8(w_a, w_b)
                if abs(ab) > _ORTHOGONAL * (np.sqrt(aa) * np.sqrt(bb)):
                    rotations += 1
                    c, s = _find_rotation(aa, bb, ab)
                    _rotate(a, b, c, s)
                    squares[p] = dot_8(w_a, w_a)
                    squares[q] = dot_8(w_b, w_b)
        if rotations == 0:
            return sweep + 1
    return -1


@kernel
def _find_rotation(aa: float, bb: float, ab: float) -> tuple[float, float]:
    """Return the cosine and sine that make two columns orthogonal (the smaller angle)."""
    zeta = (bb - aa) / (2.0 * ab)
    if zeta >= 0.0:
        t = 1.0 / (zeta + np.sqrt(1.0 + zeta * zeta))
    else:
        t = -1.0 / (np.sqrt(1.0 + zeta * zeta) - zeta)
    c = 1.0 / np.sqrt(1.0 + t * t)
    return c, c * t


@kernel
def _rotate(a: Vector, b: Vector, c: float, s: float) -> None:
    for i in range(a.size):
        x, y = a[i], b[i]
        a[i] = c * x - s * y
        b[i] = s * x + c * y


@kernel
def _swap(a: Vector, b: Vector) -> None:
    for i in range(a.size):
        a[i], b[i] = b[i], a[i]


@kernel
def find_squares(W: Matrix) -> Vector:
    """Return the squared norm of each column."""
    squares = np.empty(W.shape[0])
    for p in range(W.shape[0]):
        squares[p] = dot_8(W[p], W[p])
    return squares
