"""DoRA by its definition, one number at a time."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rescale(weight: Array, delta: Array, magnitudes: Array) -> Array:
    """Return m / ||W + D||_row * (W + D), squares in 128 lanes that are folded by halves."""
    changed = weight + delta
    for row, magnitude in enumerate(magnitudes):
        lanes = [0.0] * 128
        for index, value in enumerate(changed[row].tolist()):
            lanes[index % 128] += value * value
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [lanes[k] + lanes[k + half] for k in range(half)]
        changed[row] *= magnitude / math.sqrt(lanes[0])
    return changed
