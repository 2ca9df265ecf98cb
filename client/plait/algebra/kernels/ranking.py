"""The order of magnitudes within each row of a matrix, by a radix sort.

Without its sign, a float64's bits are in the order of its value. The sort is stable, so of equal
magnitudes the one with the lower column comes first, as in `plait.algebra.kernels.selection`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Codes = NDArray[np.uint64]
Places = NDArray[np.int64]

_DIGIT = 11
"""Bits of one pass: 2,048 counters stay in the nearest cache."""
_PASSES = 6
"""That cover the 63 bits of a magnitude."""
_MASK = np.uint64((1 << _DIGIT) - 1)
_WITHOUT_SIGN = np.uint64(0x7FFF_FFFF_FFFF_FFFF)


def order_by_magnitude(x: NDArray[np.float64]) -> Places:
    """Return each row's columns from the largest |x| on, (rows, columns); x has no NaN."""
    order = np.empty(x.shape, np.int64)
    if x.shape[1]:
        _order_rows(x.view(np.uint64), order)
    return order


@kernel
def _order_rows(codes: Codes, order: Places) -> None:
    columns = codes.shape[1]
    keys = np.empty((2, columns), np.uint64)
    places = np.empty((2, columns), np.int64)
    counts = np.empty((_PASSES, 1 << _DIGIT), np.int64)
    for row in range(codes.shape[0]):
        counts[:] = 0
        for j in range(columns):
            # Turned round, so that the largest comes first.
            key = _WITHOUT_SIGN - (codes[row, j] & _WITHOUT_SIGN)
            keys[0, j] = key
            places[0, j] = j
            for digit in range(_PASSES):
                counts[digit, np.int64((key >> np.uint64(_DIGIT * digit)) & _MASK)] += 1
        now = 0
        for digit in range(_PASSES):
            shift = np.uint64(_DIGIT * digit)
            if counts[digit, np.int64((keys[now, 0] >> shift) & _MASK)] == columns:
                continue  # all have the same digit
            _sort_by_digit(
                (keys[now], places[now]), (keys[1 - now], places[1 - now]), counts[digit], shift
            )
            now = 1 - now
        order[row] = places[now]


@kernel
def _sort_by_digit(
    old: tuple[Codes, Places], new: tuple[Codes, Places], counts: Places, shift: np.uint64
) -> None:
    """Move keys and their places to the order of one digit; `counts` become running totals."""
    total = 0
    for number in range(counts.size):
        count = counts[number]
        counts[number] = total
        total += count
    keys, places = old
    new_keys, new_places = new
    for j in range(keys.size):
        value = np.int64((keys[j] >> shift) & _MASK)
        to = counts[value]
        counts[value] = to + 1
        new_keys[to] = keys[j]
        new_places[to] = places[j]
