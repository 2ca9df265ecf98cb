"""Inner products of deltas, <D, E> = the sum of D * E over all elements, in a fixed order.

Between low-rank deltas g B A and h C E, without the dense matrices:

    (g h) * sum over p, then q, ascending, of (B[:,p] . C[:,q]) (A[p,:] . E[q,:])

with dots in 128 lanes (`kernels.dots`). Between a dense D and h C E it is the sum over q, then i,
ascending, of C[i,q] (D[i,:] . E[q,:]), times h; between dense ones the sum of the rows' dots.

The outcome is symmetric to the bit, and deltas of equal bits have equal rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plait.algebra.arrays import FloatArray
from plait.algebra.delta import LowRank, Matrix
from plait.algebra.kernels.inner_products import cross, sum_products, sum_row_products


def gram(deltas: Sequence[LowRank | Matrix]) -> Matrix:
    """Return the inner products of deltas of one shape, (k, k)."""
    count = len(deltas)
    products = np.empty((count, count))
    for i in range(count):
        for j in range(i, count):
            products[i, j] = products[j, i] = inner_product(deltas[i], deltas[j])
    return products


def inner_product(one: LowRank | Matrix, other: LowRank | Matrix) -> float:
    """Return <one, other>."""
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        lefts = cross(_rows(one.B.T), _rows(other.B.T))  # (r, s)
        rights = cross(_rows(one.A), _rows(other.A))  # (r, s)
        return (one.gamma * other.gamma) * sum_products(lefts, rights)
    if isinstance(one, LowRank):
        return inner_product(other, one)
    if isinstance(other, LowRank):
        images = cross(_rows(other.A), _rows(one))  # (s, out)
        return other.gamma * sum_products(_rows(other.B.T), images)
    return sum_row_products(_rows(one), _rows(other))


def _rows(matrix: FloatArray) -> Matrix:
    return np.ascontiguousarray(matrix, np.float64)
