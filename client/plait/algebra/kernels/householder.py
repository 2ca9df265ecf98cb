"""QR by Householder reflectors, of vectors that are stored as rows of (count, T, 128).

Reflector j is a vector x_j whose first j elements are zero, and h_j = x_j . x_j / 2:

    y  ->  y - (x_j . y / h_j) x_j

h_j = 0 stands for no reflector: the vector was zero by then, or has no element j.

Each vector takes the reflectors before it in ascending order and then becomes one (left-looking).
That is the same arithmetic, in the same order, as updating all later vectors by each reflector, and
the vector stays in the cache. Golub and Van Loan, Matrix Computations, section 5.2.

Four vectors take a chain of reflectors together, so that one load of a reflector serves all four.
One pass over them ends reflector j and begins the next, k:

    y_t  ->  y_t - w x_jt,      sums_t  ->  sums_t + y_t x_kt      for t ascending

which leaves the order of every sum as it was. The four lie side by side in one array, (T, 4, 128):
of several arrays, the compiler would have to test that none overlaps another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel
from plait.algebra.kernels.dots import LANES, dot_lanes, fold

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Blocks = NDArray[np.float64]
"""Vectors of equal length, each padded with zeros to a multiple of 128: (count, T, 128)."""

_GROUP = 4
"""More of them leave the second-level cache, and gain nothing."""
# Unsigned, as in `dots`.
_LANES = np.uint64(LANES)
_1, _2, _3 = np.uint64(LANES), np.uint64(2 * LANES), np.uint64(3 * LANES)


@kernel
def factor(X: Blocks, length: int, first: int, R: Matrix, h: Vector) -> None:
    """Turn the vectors from `first` on into reflectors; those before it are reflectors already.

    `length` is the vectors' without padding. R, (count, min(length, count)), gets a row for each
    vector, its column of the triangular factor. h is (count,).
    """
    lanes = np.empty(LANES)
    count = X.shape[0]
    grouped = count - (count - first) % _GROUP
    for start in range(first, grouped, _GROUP):
        _reflect_group(X, h, range(min(start, length)), X[start : start + _GROUP])
        for j in range(start, start + _GROUP):
            for i in range(start, min(j, length)):
                reflect(X[i], h[i], X[j], lanes)
            _become_reflector(X[j], j, length, R, h, lanes)
    for j in range(grouped, count):
        for i in range(min(j, length)):
            reflect(X[i], h[i], X[j], lanes)
        _become_reflector(X[j], j, length, R, h, lanes)


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
    flat_x, flat_y = x.reshape(x.size), y.reshape(y.size)
    for i in range(x.size):
        flat_y[i] = flat_y[i] - w * flat_x[i]


@kernel
def apply_q(X: Blocks, h: Vector, Y: Blocks) -> None:
    """Multiply every vector of Y by Q in place: the reflectors in descending order."""
    lanes = np.empty(LANES)
    descending = range(X.shape[0] - 1, -1, -1)
    grouped = Y.shape[0] - Y.shape[0] % _GROUP
    for start in range(0, grouped, _GROUP):
        _reflect_group(X, h, descending, Y[start : start + _GROUP])
    for r in range(grouped, Y.shape[0]):
        for j in descending:
            reflect(X[j], h[j], Y[r], lanes)


@kernel
def _reflect_group(X: Blocks, h: Vector, order: range, Y: Blocks) -> None:
    """Apply reflectors, in this order, to four vectors in place."""
    steps = Y.shape[1]
    group = np.empty((steps, _GROUP, LANES))
    for t in range(steps):
        for y in range(_GROUP):
            group[t, y] = Y[y, t]
    flat = group.reshape(group.size)
    nothing = np.zeros(steps * LANES)
    last, w = nothing, np.zeros(_GROUP)
    sums = np.zeros((_GROUP, LANES))
    for j in order:
        if h[j] != 0.0:
            x = X[j].reshape(steps * LANES)
            sums[:] = 0.0
            _pass(last, x, w, flat, sums.reshape(sums.size))
            for y in range(_GROUP):
                w[y] = fold(sums[y]) / h[j]
            last = x
    _pass(last, nothing, w, flat, sums.reshape(sums.size))
    for t in range(steps):
        for y in range(_GROUP):
            Y[y, t] = group[t, y]


@kernel
def _pass(last: Vector, x: Vector, w: Vector, group: Vector, sums: Vector) -> None:
    """Take w times `last` from each of four vectors, and add their products with x to the sums."""
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for start in range(0, x.size, LANES):
        a, b = last[start : start + LANES], x[start : start + LANES]
        y = group[_GROUP * start : _GROUP * (start + LANES)]
        for lane in range(_LANES):
            a_lane, b_lane = a[lane], b[lane]
            value = y[lane] - w0 * a_lane
            y[lane] = value
            sums[lane] = sums[lane] + value * b_lane
            value = y[lane + _1] - w1 * a_lane
            y[lane + _1] = value
            sums[lane + _1] = sums[lane + _1] + value * b_lane
            value = y[lane + _2] - w2 * a_lane
            y[lane + _2] = value
            sums[lane + _2] = sums[lane + _2] + value * b_lane
            value = y[lane + _3] - w3 * a_lane
            y[lane + _3] = value
            sums[lane + _3] = sums[lane + _3] + value * b_lane
