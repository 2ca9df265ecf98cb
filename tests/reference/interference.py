"""The figures of the interference report, by plain arithmetic on whole matrices."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def cosine(one: Matrix, other: Matrix) -> float:
    """Return the cosine of the angle between two matrices, taken as vectors."""
    return float(np.sum(one * other) / np.sqrt(np.sum(one * one) * np.sum(other * other)))


def overlap(one: Matrix, other: Matrix) -> float:
    """Return the mean squared cosine of the principal angles between two column spaces."""
    projectors = [matrix @ np.linalg.pinv(matrix) for matrix in (one, other)]
    # Squared singular values of Q1^T Q2 are the eigenvalues of P1 P2.
    shared = float(np.trace(projectors[0] @ projectors[1]))
    return shared / float(min(np.linalg.matrix_rank(one), np.linalg.matrix_rank(other)))


def conflict(deltas: list[Matrix]) -> float:
    """Return the part of the elements with two values or more whose signs differ."""
    compared = conflicts = 0
    for values in zip(*(delta.ravel().tolist() for delta in deltas), strict=True):
        signs = [value > 0 for value in values if value != 0]
        compared += len(signs) >= 2
        conflicts += len(set(signs)) == 2
    return conflicts / compared


def kept(total: Matrix, rank: int) -> float:
    """Return the part of the squared norm that the best approximation of a rank has."""
    squares = np.linalg.svd(total, compute_uv=False) ** 2
    return float(np.sum(squares[:rank]) / np.sum(squares))
