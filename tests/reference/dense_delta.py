"""Deltas multiplied out and compared number by number, in float64."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def delta(a: Array, b: Array, gamma: float) -> Array:
    """Return gamma B A, without BLAS."""
    product: Array = np.einsum("or,ri->oi", b, a)
    return gamma * product


def figures(old: Array, new: Array) -> tuple[float, float, float, float]:
    """Return the norms of both and of the difference, and the inner product."""
    difference = new - old
    norms = [float(np.sqrt((array**2).sum())) for array in (old, new, difference)]
    return norms[0], norms[1], norms[2], float((old * new).sum())
