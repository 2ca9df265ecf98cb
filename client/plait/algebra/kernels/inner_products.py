"""Dot products between the rows of two matrices, each as `dots.dot_lanes` sums it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel
from plait.algebra.kernels.dots import LANES, add_products, fold

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@kernel
def dot(x: Vector, y: Vector, lanes: Vector) -> float:
    """Return x . y of contiguous vectors as if both were padded; `lanes` is working memory."""
    for lane in range(LANES):
        lanes[lane] = 0.0
    whole = x.size // LANES * LANES
    add_products(x[:whole].reshape(-1, LANES), y[:whole].reshape(-1, LANES), lanes)
    for lane in range(x.size - whole):
        lanes[lane] = lanes[lane] + x[whole + lane] * y[whole + lane]
    return fold(lanes)


@kernel
def cross(X: Matrix, Y: Matrix) -> Matrix:
    """Return X Y^T for rows of equal length: (r, n) and (s, n) give (r, s)."""
    products = np.empty((X.shape[0], Y.shape[0]))
    lanes = np.empty(LANES)
    for p in range(X.shape[0]):
        for q in range(Y.shape[0]):
            products[p, q] = dot(X[p], Y[q], lanes)
    return products


@kernel
def sum_products(X: Matrix, Y: Matrix) -> float:
    """Return the sum of X * Y over p, then q, ascending, for small matrices (r, s)."""
    total = 0.0
    for p in range(X.shape[0]):
        for q in range(X.shape[1]):
            total = total + X[p, q] * Y[p, q]
    return total


@kernel
def sum_row_products(X: Matrix, Y: Matrix) -> float:
    """Return the sum of X * Y for large matrices: each row by `dot`, rows ascending."""
    total = 0.0
    lanes = np.empty(LANES)
    for i in range(X.shape[0]):
        total = total + dot(X[i], Y[i], lanes)
    return total
