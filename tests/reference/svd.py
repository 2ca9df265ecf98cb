# ruff: noqa: N803 - matrices have the names of the papers
"""Dense twins of the recompressions, by LAPACK."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import LowRank, Placement

Matrix = NDArray[np.float64]


def low_rank(B: NDArray[np.floating], A: NDArray[np.floating], gamma: float = 1.0) -> LowRank:
    """Return gamma B A of a linear module."""
    return LowRank(B=B, A=A, gamma=gamma, placement=Placement())


def multiply_out_all(terms: Sequence[tuple[LowRank, float]]) -> Matrix:
    """Return the weighted sum as a dense matrix, in the order of BLAS."""
    total = np.zeros(terms[0][0].shape)
    for delta, coefficient in terms:
        total += (coefficient * delta.gamma) * (delta.B.astype(np.float64) @ delta.A)
    return total


def scale_of(terms: Sequence[tuple[LowRank, float]]) -> float:
    """Return the norm before any cancellation, which rounding errors are in proportion to."""
    return sum(
        abs(coefficient * delta.gamma)
        * float(np.linalg.norm(delta.B.astype(np.float64)[:, p]))
        * float(np.linalg.norm(delta.A.astype(np.float64)[p]))
        for delta, coefficient in terms
        for p in range(delta.rank)
    )
