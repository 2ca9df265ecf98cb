"""The largest magnitudes of an array, exactly.

Magnitudes are compared as integers: without its sign, a float64's bits are in the order of its
value. The k-th largest is a value and not a position, so how it is found does not show; among
equal ones the first in index order count as larger.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Vector = NDArray[np.float64]
Codes = NDArray[np.uint64]

_DIGIT = 16
"""Bits that one pass tells apart: 65,536 counters."""
_WITHOUT_SIGN = np.uint64(0x7FFF_FFFF_FFFF_FFFF)


def kth_largest_magnitude(x: Vector, keep: int) -> float:
    """Return the `keep`-th largest |x|, for 1 <= keep <= the number of elements.

    `x` is flat and has no NaN.
    """
    code = _find_code(x.view(np.uint64), keep)
    return float(np.array([code], np.uint64).view(np.float64)[0])


def keep_largest(x: Vector, keep: int) -> NDArray[np.bool_]:
    """Return where the `keep` largest |x| are: of equal ones, those with the lower index.

    `x` is flat and has no NaN; `keep` may be 0, and more than there are keeps all.
    """
    if keep <= 0:
        return np.zeros(x.shape, np.bool_)
    if keep >= x.size:
        return np.ones(x.shape, np.bool_)
    codes = x.view(np.uint64)
    mask = np.empty(x.shape, np.bool_)
    _mark_largest(codes, _find_code(codes, keep), keep, mask)
    return mask


@kernel
def _find_code(codes: Codes, keep: int) -> np.uint64:
    """Return the bits of the `keep`-th largest: radix selection, from the highest digit down."""
    rank = keep
    candidates = codes
    shift = 64 - _DIGIT
    while True:
        counts = np.zeros(1 << _DIGIT, np.int64)
        for i in range(candidates.size):
            digit = ((candidates[i] & _WITHOUT_SIGN) >> np.uint64(shift)) & np.uint64(0xFFFF)
            counts[np.int64(digit)] += 1
        digit_found = (1 << _DIGIT) - 1
        while counts[digit_found] < rank:
            rank -= counts[digit_found]
            digit_found -= 1
        kept = np.empty(counts[digit_found], np.uint64)
        found = 0
        for i in range(candidates.size):
            code = candidates[i] & _WITHOUT_SIGN
            if np.int64((code >> np.uint64(shift)) & np.uint64(0xFFFF)) == digit_found:
                kept[found] = code
                found += 1
        if shift == 0 or found == 1:
            return np.uint64(kept[0])
        candidates = kept
        shift -= _DIGIT


@kernel
def _mark_largest(codes: Codes, threshold: np.uint64, keep: int, mask: NDArray[np.bool_]) -> None:
    """Fill `mask`: all above the threshold, then equal ones in index order up to `keep`."""
    above = 0
    for i in range(codes.size):
        is_above = (codes[i] & _WITHOUT_SIGN) > threshold
        mask[i] = is_above
        above += is_above
    left = keep - above
    i = 0
    while left > 0:
        if (codes[i] & _WITHOUT_SIGN) == threshold:
            mask[i] = True
            left -= 1
        i += 1
