"""The definition of dequantised values, one element after the other, in numpy's scalars."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F = np.float32


def scales_of(
    codes: Sequence[int], means: NDArray[np.float32], steps: NDArray[np.float32], offset: float
) -> list[np.float32]:
    """Return the scales that nested quantisation stands for, 256 to a step."""
    return [F(F(means[q] * steps[b // 256]) + F(offset)) for b, q in enumerate(codes)]


def four_bit(
    codes: bytes, table: NDArray[np.float32], scales: Sequence[np.float32], blocksize: int
) -> list[np.float32]:
    """Return two elements for each byte, the one in its upper half first."""
    numbers = [half for byte in codes for half in (byte >> 4, byte & 15)]
    return [F(table[code] * F(scales[e // blocksize])) for e, code in enumerate(numbers)]


def int8(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> list[np.float32]:
    """Return the elements of a matrix, row by row."""
    unit = F(1.0 / 127.0)
    return [F(F(F(code) * s) * unit) for row, s in zip(codes, scales, strict=True) for code in row]
