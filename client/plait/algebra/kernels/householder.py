"""QR by Householder reflectors, of vectors that are stored as rows of (count, T, 128).

Reflector j is a vector x_j whose first j elements are zero, and h_j = x_j . x_j / 2:

    y  ->  y - (x_j . y / h_j) x_j

h_j = 0 stands for no reflector: the vector was zero by then, or has no element j.

Each vector takes the reflectors before it in ascending order and then becomes one (left-looking).
That is the same arithmetic, in the same order, as updating all later vectors by each reflector, and
the vector stays in the cache. Golub and Van Loan, Matrix Computations, section 5.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel
from plait.algebra.kernels.dots import LANES, add_products_of_two, dot_lanes, fold

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Blocks = NDArray[np.float64]
"""Vectors of equal length, each padded with zeros to a multiple of 128: (count, T, 128)."""


@kernel
def factor(X: Blocks, length: int, first: int, R: Matrix, h: Vector) -> None:
    """Turn the vectors from `first` on into reflectors; those before it are reflectors already.

    `length` is the vectors' without padding. R, (count, min(length, count)), gets a row for each
    vector, its column of the triangular factor. h is (count,). Vectors take the earlier reflectors
    two at a time, which halves the loads of these.
    """
    lanes = np.empty((2, LANES))
    count = X.shape[0]
    for j in range(first, count, 2):
        if j + 1 == count:
            for i in range(min(j, length)):
                reflect(X[i], h[i], X[j], lanes[0])
            _become_reflector(X[j], j, length, R, h, lanes[0])
            break
        for i in range(min(j, length)):
            _reflect_two(X[i], h[i], X[j], X[j + 1], lanes)
        _become_reflector(X[j], j, length, R, h, lanes[0])
        if j < length:
            reflect(X[j], h[j], X[j + 1], lanes[0])
        _become_reflector(X[j + 1], j + 1, length, R, h, lanes[0])


@kernel
def _become_reflector(x: Matrix, j: int, length: int, R: Matrix, h: Vector, lanes: Vector) -> None:
    flat = x.reshape(x.size)
    for i in range(min(j, length)):
        R[j, i] = flat[i]
        flat[i] = 0.0
    h[j] = 0.0
    if j >= length:
        return
    square = dot_lanes(x, x, lanes)
    if square == 0.0:
        R[j, j] = 0.0
        return
    norm = np.sqrt(square)
    head = flat[j]
    if head >= 0.0:
        R[j, j] = -norm
        flat[j] = head + norm
        h[j] = norm * (norm + head)
    else:
        R[j, j] = norm
        flat[j] = head - norm
        h[j] = norm * (norm - head)


@kernel
def reflect(x: Matrix, h: float, y: Matrix, lanes: Vector) -> None:
    """Apply one reflector to y in place."""
    if h == 0.0:
        return
    w = dot_lanes(x, y, lanes) / h
    for t in range(x.shape[0]):
        for lane in range(LANES):
            y[t, lane] = y[t, lane] - w * x[t, lane]


@kernel
def _reflect_two(x: Matrix, h: float, y: Matrix, z: Matrix, lanes: Matrix) -> None:
    """Apply one reflector to y and z in place, with one load of x for both."""
    if h == 0.0:
        return
    ly, lz = lanes[0], lanes[1]
    for lane in range(LANES):
        ly[lane] = 0.0
        lz[lane] = 0.0
    add_products_of_two(x, y, z, ly, lz)
    v, w = fold(ly) / h, fold(lz) / h
    for t in range(x.shape[0]):
        for lane in range(LANES):
            y[t, lane] = y[t, lane] - v * x[t, lane]
            z[t, lane] = z[t, lane] - w * x[t, lane]


@kernel
def apply_q(X: Blocks, h: Vector, Y: Blocks) -> None:
    """Multiply every vector of Y by Q in place: the reflectors in descending order."""
    lanes = np.empty((2, LANES))
    even = Y.shape[0] - Y.shape[0] % 2
    for r in range(0, even, 2):
        for j in range(X.shape[0] - 1, -1, -1):
            _reflect_two(X[j], h[j], Y[r], Y[r + 1], lanes)
    for r in range(even, Y.shape[0]):
        for j in range(X.shape[0] - 1, -1, -1):
            reflect(X[j], h[j], Y[r], lanes[0])
