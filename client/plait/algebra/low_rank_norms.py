"""Norms and inner products of deltas D = B A by their thin factors, never multiplied out.

A delta is a pair (B, A) of float64 matrices, (out, r) and (r, in), with gamma inside B. Norms do
not ask whether the base stores its weight transposed.

Figures are for people: they use BLAS and LAPACK, whose last digits depend on the machine.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from plait.algebra.delta import LowRank, Matrix

Pair: TypeAlias = tuple[Matrix, Matrix]
"""(B, A)"""


def as_pair(delta: LowRank) -> Pair:
    """Return a delta's factors in double precision, gamma inside B."""
    return delta.gamma * np.asarray(delta.B, np.float64), np.asarray(delta.A, np.float64)


def norm_of_product(B: Matrix, A: Matrix) -> float:
    """Return ||B A||_F."""
    # With B = Qb Rb and A^T = Qa Ra, B A = Qb (Rb Ra^T) Qa^T, and rotations keep the norm.
    if 0 in B.shape or 0 in A.shape:
        return 0.0
    return float(np.linalg.norm(_triangular(B) @ _triangular(A.T).T))


def inner_product(first: Pair, second: Pair) -> float:
    """Return <B1 A1, B2 A2>_F = sum((B2^T B1) * (A2 A1^T))."""
    (B1, A1), (B2, A2) = first, second
    return float(np.sum((B2.T @ B1) * (A2 @ A1.T)))  # of (r2, r1)


def norm_of_difference(first: Pair, second: Pair) -> float:
    """Return ||B1 A1 - B2 A2||_F without the cancellation that inner products would bring.

    The difference is a product of stacked factors. Where the ranks agree, the factors are
    subtracted first: (B1 - B2) A1 + B2 (A1 - A2); equal factors then give exactly zero.
    """
    (B1, A1), (B2, A2) = first, second
    if B1.shape[1] == B2.shape[1]:
        return norm_of_product(
            np.hstack([B1 - B2, B2]),  # (out, 2r)
            np.vstack([A1, A1 - A2]),  # (2r, in)
        )
    return norm_of_product(
        np.hstack([B1, -B2]),  # (out, r1 + r2)
        np.vstack([A1, A2]),  # (r1 + r2, in)
    )


def _triangular(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.qr(matrix, mode="r"))
