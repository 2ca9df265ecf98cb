"""The spaces that deltas write to and read from, and what a cut to a rank keeps of their sum.

Figures for people: computed with BLAS and LAPACK, whose last digits depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import Matrix
from plait.algebra.dense_svd import recompress_dense
from plait.algebra.low_rank_norms import Pair

NEGLIGIBLE = 1e-10
"""Of the largest singular value: directions below it belong to no space."""
Term: TypeAlias = Pair | Matrix
"""A weighted delta: factors with gamma and weight inside B, or dense (out, in)."""

_SMALL = 512
"""Dense deltas up to this many rows or columns get a whole SVD, larger ones a partial one."""


def rows_of(term: Term, which: NDArray[np.intp] | slice) -> Matrix:
    """Return rows of a delta, multiplied out."""
    if isinstance(term, tuple):
        B, A = term
        return np.asarray(B[which] @ A)
    return term[which]


def find_spaces(term: Term, rank: int) -> tuple[Matrix, Matrix] | None:
    """Return orthonormal bases of what a delta writes to (out, r) and reads from (in, r).

    None for a delta of zero. `rank` is that of the best approximation of a dense one.
    """
    if not isinstance(term, tuple):
        if min(term.shape) <= _SMALL:
            U, values, Vt = np.linalg.svd(term, full_matrices=False)
            return _used(U[:, :rank], values[:rank], Vt[:rank].T)
        best = recompress_dense(term, rank=min(rank, *term.shape), energy=None)
        term = best.B, best.A
    B, A = term
    if 0 in B.shape or 0 in A.shape:
        return None
    left, left_core = np.linalg.qr(B)  # (out, r), (r, r)
    right, right_core = np.linalg.qr(A.T)  # (in, r), (r, r)
    inner, values, inner_t = np.linalg.svd(left_core @ right_core.T)
    return _used(left @ inner[:, : values.size], values, right @ inner_t[: values.size].T)


def _used(U: Matrix, values: Matrix, V: Matrix) -> tuple[Matrix, Matrix] | None:
    is_used = values > NEGLIGIBLE * values[0]
    return (U[:, is_used], V[:, is_used]) if values[0] > 0.0 else None


def find_overlap(one: Matrix | None, other: Matrix | None) -> float | None:
    """Return |Qi^T Qj|_F^2 / min(r_i, r_j) of orthonormal bases; None where one is missing."""
    if one is None or other is None:
        return None
    length = float(np.linalg.norm(one.T @ other))
    share: float = length * length / min(one.shape[1], other.shape[1])
    return min(1.0, share)


def cut(terms: Sequence[Term], rank: int | None, energy: float | None) -> tuple[int, float, float]:
    """Return the rank that the sum is cut to, its squared norm, and what is kept of that."""
    pairs = [term for term in terms if isinstance(term, tuple)]
    if len(pairs) == len(terms):
        left = _triangular(np.hstack([B for B, _ in pairs]))
        right = _triangular(np.vstack([A for _, A in pairs]).T)
        return _cut_values(_singular_values(left @ right.T), rank, energy)
    total = np.sum([rows_of(term, slice(None)) for term in terms], axis=0)
    if min(total.shape) <= _SMALL:
        return _cut_values(_singular_values(total), rank, energy)
    whole = float(np.vdot(total, total))
    if rank is None and energy is None:
        return min(total.shape), whole, whole
    best = recompress_dense(total, rank=rank, energy=energy)
    return best.A.shape[0], whole, best.kept_energy


def _cut_values(values: Matrix, rank: int | None, energy: float | None) -> tuple[int, float, float]:
    """Do the same where all singular values are known, in descending order."""
    squares = values * values
    most = int(np.count_nonzero(values > NEGLIGIBLE * values[0])) if values.size else 0
    chosen = most if rank is None else min(rank, most)
    whole = math.fsum(squares.tolist())
    if energy is not None and whole > 0.0:
        reached = np.cumsum(squares) >= energy * whole * (1.0 - 1e-15)
        chosen = min(chosen, int(np.argmax(reached)) + 1)
    return chosen, whole, math.fsum(squares[:chosen].tolist())


def _triangular(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.qr(matrix, mode="r"))


def _singular_values(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.svd(matrix, compute_uv=False), np.float64)
