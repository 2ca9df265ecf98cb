"""Rotations of a weight's inputs, block by block, in a fixed order of operations.

Cayley's map R = (I - Q)(I + Q)^-1 of a skew-symmetric Q, or a part of its series, as OFT and BOFT
use it. I + Q can always be inverted, and its rows are exchanged for the largest pivot, of equal
ones the first.
"""

from __future__ import annotations

import numpy as np

from plait.algebra.delta import Matrix
from plait.algebra.kernels.products import multiply


def map_by_cayley(skew: Matrix) -> Matrix:
    """Return (I - Q)(I + Q)^-1 for each block Q of `skew` (n, b, b)."""
    count, size, _ = skew.shape
    identity, every = np.eye(size), np.arange(count)
    # The two factors commute: R = (I + Q)^-1 (I - Q), by elimination downwards and upwards.
    left, right = identity + skew, identity - skew
    for j in range(size):
        pivots = j + np.argmax(np.abs(left[:, j:, j]), axis=1)  # (n,)
        for matrix in (left, right):
            first = matrix[:, j].copy()
            matrix[:, j] = matrix[every, pivots]
            matrix[every, pivots] = first
        factors = left[:, j + 1 :, j] / left[:, j, j, None]  # (n, b - 1 - j)
        left[:, j + 1 :] -= factors[:, :, None] * left[:, j, None]
        right[:, j + 1 :] -= factors[:, :, None] * right[:, j, None]
    for j in reversed(range(size)):
        right[:, j] /= left[:, j, j, None]
        right[:, :j] -= left[:, :j, j, None] * right[:, j, None]
    return right


def sum_neumann_terms(skew: Matrix, terms: int) -> Matrix:
    """Return I + 2Q + 2Q^2 + ... + 2Q^(terms - 2) + Q^(terms - 1) for each block of `skew`.

    It is a part of the series of (I + Q)(I - Q)^-1, the inverse of the rotation above, as PEFT sums
    it: with Q^3 at the end for 3 terms and for 4, and with 2Q for 2.
    """
    total = np.broadcast_to(np.eye(skew.shape[-1]), skew.shape).copy()
    if terms > 1:
        total += 2.0 * skew
    if terms > 2:
        power = _multiply_blocks(skew, skew)
        total += 2.0 * power
        for _ in range(3, terms - 1):
            power = _multiply_blocks(power, skew)
            total += 2.0 * power
        total += _multiply_blocks(power, skew)
    return total


def rotate_inputs(weight: Matrix, blocks: Matrix) -> Matrix:
    """Return W diag(R_1, R_2, ...)^T for W (out, n * b) and blocks R (n, b, b)."""
    size = blocks.shape[-1]
    return np.hstack(
        [
            multiply(weight[:, index * size : (index + 1) * size], block.T)
            for index, block in enumerate(blocks)
        ]
    )


def _multiply_blocks(first: Matrix, second: Matrix) -> Matrix:
    return np.stack([multiply(X, Y) for X, Y in zip(first, second, strict=True)])
