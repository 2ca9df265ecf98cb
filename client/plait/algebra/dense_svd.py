"""A dense delta cut to a rank, with the same bits on every machine: block Krylov, or in full.

    D (m, n)  ~  B A     the best approximation of rank k, or as good as that

With b columns a block and a start block S of signs from the counter generator, the space

    [D S, (D D^T) D S, ..., (D D^T)^5 D S]      6 b columns

is built one block at a time, each made orthogonal to all before it by Householder reflectors. D is
then cut inside that space, D ~ Q (D^T Q)^T, as a sum of products is (`plait.algebra.low_rank_svd`).
Musco and Musco, https://arxiv.org/abs/1504.05477: the error is close to the best whatever the
spectrum, and indistinguishable where it falls off. `discarded_energy` is what is really missing.

Where the blocks would fill a side anyway, and for small sides, D is factored in full, which is
exact up to rounding. The shape and the rank alone decide which way is taken, so bits do not move.

All in float64 with products and sums of a fixed order. Memory: D twice, and 6 b vectors of each
side.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plait.algebra.counter_random import uniforms
from plait.algebra.delta import Matrix
from plait.algebra.kernels.householder import apply_q, factor
from plait.algebra.kernels.inner_products import sum_row_products
from plait.algebra.kernels.products import multiply
from plait.algebra.low_rank_svd import truncate_product
from plait.algebra.truncation import Blocks, Recompressed, Side, factor_side, pad_vectors
from plait.errors import InvalidInput

STEPS = 6
"""Blocks of the Krylov space: two products with D for each."""
LEAST_MARGIN = 8
"""Columns of a block beyond the rank, at least; half the rank where that is more."""
SMALL = 64
"""Sides up to this are factored in full: that is cheaper than blocks."""
FIRST_RANK = 16
"""That an energy is looked for with first; then twice as many, and so on."""
_SEED = 0
_NAME = "plait.dense_svd/1"


def recompress_dense(
    D: Matrix, *, rank: int | None = None, energy: float | None = None
) -> Recompressed:
    """Return D cut to `rank`, or to the least rank that keeps the part `energy` of its square.

    With neither it keeps the smaller side; with both, the lower rank counts.

    Raises:
        InvalidInput: `rank-invalid` for a rank that is 0 or above the smaller side, or an energy
            outside (0, 1]; `tensor-not-finite`.
    """
    matrix = np.ascontiguousarray(D, np.float64)
    smaller = min(matrix.shape)
    if rank is not None and not 1 <= rank <= smaller:
        raise InvalidInput(
            "rank-invalid",
            f"The rank must be from 1 to {smaller}, the smaller side of {D.shape}, not {rank}.",
            rank=rank,
            most=smaller,
        )
    if energy is not None and not 0.0 < energy <= 1.0:
        raise InvalidInput(
            "rank-invalid", f"The energy to keep must be over 0 and at most 1, not {energy}."
        )
    square = sum_row_products(matrix, matrix)
    if not math.isfinite(square):
        raise InvalidInput(
            "tensor-not-finite",
            "A delta is not finite, or too large to be squared in float64: look at the factors and "
            "weights of this module.",
        )
    if energy is None:
        return _cut(matrix, smaller if rank is None else rank, square)
    most = smaller if rank is None else rank
    wanted = min(most, FIRST_RANK)
    while True:
        found = _cut(matrix, wanted, square, energy=energy)
        is_enough = found.kept_energy >= energy * square
        if is_enough or wanted == most:
            return found
        wanted = min(most, 2 * wanted)


def _cut(D: Matrix, rank: int, square: float, *, energy: float | None = None) -> Recompressed:
    """Return D cut to `rank`, or to the least rank that keeps `energy` where that is lower."""
    block = rank + max(LEAST_MARGIN, rank // 2)
    smaller = min(D.shape)
    is_small = smaller <= SMALL or block * STEPS >= smaller
    left, right = _factor_in_full(D) if is_small else _search(D, block)
    found = truncate_product(left, np.ones(left.h.size), right, rank=rank, energy=None)
    if energy is not None:
        least = _find_least(found.singular_values, energy * square, rank)
        if least < rank:
            found = truncate_product(left, np.ones(left.h.size), right, rank=least, energy=None)
    if is_small:
        return found
    # What lies outside of the space that was searched is missing, too.
    missing = max(found.discarded_energy, square - found.kept_energy)
    return replace(found, discarded_energy=missing)


def _find_least(sigma: NDArray[np.float64], wanted: float, most: int) -> int:
    """Return the least rank whose squares reach `wanted`, or `most`."""
    kept = 0.0
    for rank, value in enumerate(sigma[:most].tolist(), 1):
        kept += value * value
        if kept >= wanted:
            return rank
    return most


def _factor_in_full(D: Matrix) -> tuple[Side, Side]:
    """Return D as the sum of its columns times unit vectors, or of unit vectors times its rows."""
    rows, columns = D.shape
    if rows >= columns:
        return factor_side(_store(D.T), rows), _unit_side(columns)
    return _unit_side(rows), factor_side(_store(D), columns)


def _search(D: Matrix, block: int) -> tuple[Side, Side]:
    """Return Q and D^T Q for the Krylov space: D is about the sum of their products."""
    rows, columns = D.shape
    count = block * STEPS
    X, h = pad_vectors(count, rows), np.zeros(count)
    R = np.zeros((count, min(rows, count)))
    images = pad_vectors(count, columns)
    flat = images.reshape(count, -1)
    transposed = np.ascontiguousarray(D.T)
    source = _start(block, columns)  # (block, columns)
    for first in range(0, count, block):
        last = first + block
        X.reshape(count, -1)[first:last, :rows] = multiply(source, transposed)
        factor(X[:last], rows, first, R, h)
        Q = pad_vectors(block, rows)
        Q.reshape(block, -1)[np.arange(block), np.arange(first, last)] = 1.0
        apply_q(X[:last], h[:last], Q)
        source = multiply(Q.reshape(block, -1)[:, :rows], D)
        flat[first:last, :columns] = source
    left = Side(X=X, h=h, R=np.eye(count, R.shape[1]), length=rows)
    return left, factor_side(images, columns)


def _start(block: int, columns: int) -> Matrix:
    """Return signs, (block, columns)."""
    drawn = uniforms(_SEED, _NAME, 0, block * columns).reshape(block, columns)
    return np.where(drawn < 0.5, -1.0, 1.0)


def _store(vectors: Matrix) -> Blocks:
    """Return vectors (count, length) padded."""
    count, length = vectors.shape
    X = pad_vectors(count, length)
    X.reshape(count, -1)[:, :length] = vectors
    return X


def _unit_side(count: int) -> Side:
    """Return the side of `count` unit vectors, which no reflector turns."""
    return Side(X=pad_vectors(count, count), h=np.zeros(count), R=np.eye(count), length=count)
