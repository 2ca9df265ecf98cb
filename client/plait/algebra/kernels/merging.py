"""The inner loop of merge-fp64-v1: rows of a weight, read once and written once.

    acc_i = ((0 + L[o,0] R[0,j]) + L[o,1] R[1,j]) + ...        k ascending, within term i
    S     = ((g_1 acc_1) + g_2 acc_2) + ...
    out   = round(round32(W + S))

in float64 but for the last step. L and R are float32: a product of two is exact in float64. Tiles
of four rows and `COLUMNS` columns keep the sums in the first-level cache; every element has a sum
of its own, so tiles and vectors of any size give the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel
from plait.algebra.kernels.narrowing import narrow_bf16
from plait.algebra.kernels.widening import widen_bf16

COLUMNS = 512
"""Of a tile: 4 rows of sums are 16 KiB of float64."""
_ROWS = 4
_EXPONENT_F32 = 0x7F800000

Factors = NDArray[np.float32]
Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]
Codes16 = NDArray[np.uint16]
Floats = NDArray[np.float32]
Span = tuple[int, int]
"""The first of several numbers that follow each other, and the one after the last."""
Terms = tuple[Counts, Doubles]
"""Where the ranks of each term begin, and the terms' factors g."""


@kernel
def merge_f32(W: Floats, out: Floats, L: Factors, R: Factors, starts: Counts, g: Doubles) -> bool:
    """Write the merged rows of a float32 weight; return whether all of W is finite.

    W and out (rows, columns); L (rows, r) and R (r, columns) hold the factors of all terms one
    after the other; term i has the ranks from starts[i] to starts[i + 1].
    """
    rows, columns = W.shape
    acc = np.empty((_ROWS, COLUMNS))
    total = np.empty((_ROWS, COLUMNS))
    is_finite = True
    for left in range(0, columns, COLUMNS):
        right = min(left + COLUMNS, columns)
        for top in range(0, rows, _ROWS):
            bottom = min(top + _ROWS, rows)
            _sum_terms(L[top:bottom], R, (starts, g), (left, right), (acc, total))
            for i in range(top, bottom):
                values = W[i, left:right]
                is_finite &= _all_finite(values.view(np.uint32))
                _add(values, total[i - top], out[i, left:right])
    return is_finite


@kernel
def merge_bf16(
    W: Codes16, out: Codes16, L: Factors, R: Factors, starts: Counts, g: Doubles
) -> bool:
    """Write the merged rows of a bfloat16 weight, given by its codes; else as `merge_f32`."""
    rows, columns = W.shape
    acc = np.empty((_ROWS, COLUMNS))
    total = np.empty((_ROWS, COLUMNS))
    wide = np.empty(COLUMNS, np.uint32)
    is_finite = True
    for left in range(0, columns, COLUMNS):
        right = min(left + COLUMNS, columns)
        for top in range(0, rows, _ROWS):
            bottom = min(top + _ROWS, rows)
            _sum_terms(L[top:bottom], R, (starts, g), (left, right), (acc, total))
            for i in range(top, bottom):
                codes = wide[: right - left]
                widen_bf16(W[i, left:right], codes)
                is_finite &= _all_finite(codes)
                values = codes.view(np.float32)
                _add(values, total[i - top], values)
                narrow_bf16(codes, out[i, left:right])
    return is_finite


@kernel
def _sum_terms(
    L: Factors, R: Factors, terms: Terms, span: Span, memory: tuple[Doubles, Doubles]
) -> None:
    """Write S of up to four rows, and the columns of a span, to the second array of memory."""
    (starts, g), (acc, total) = terms, memory
    rows, columns = L.shape[0], span[1] - span[0]
    for term in range(g.size):
        first, last = starts[term], starts[term + 1]
        acc[:] = 0.0
        whole = first
        if rows == _ROWS:
            whole = last - (last - first) % 4
            _add_four_ranks(L, R, (first, whole), span, acc)
        _add_single_ranks(L, R, (whole, last), span, acc)
        scale = g[term]
        for i in range(rows):
            sums, totals = acc[i], total[i]
            if term == 0:
                for j in range(columns):
                    totals[j] = scale * sums[j]
            else:
                for j in range(columns):
                    totals[j] = totals[j] + scale * sums[j]


@kernel
def _add_four_ranks(L: Factors, R: Factors, ranks: Span, span: Span, acc: Doubles) -> None:
    """Add L R to four rows. Four ranks share the loads of each sum, four rows those of R.

    Rows are cut out of the whole R, not of a part of it: numba knows only then that their numbers
    lie side by side, and the loop becomes vectors (three times as fast).
    """
    o0, o1, o2, o3 = acc[0], acc[1], acc[2], acc[3]
    (first, last), (left, right) = ranks, span
    d = np.float64
    for k in range(first, last, 4):
        a0, a1, a2, a3 = d(L[0, k]), d(L[0, k + 1]), d(L[0, k + 2]), d(L[0, k + 3])
        b0, b1, b2, b3 = d(L[1, k]), d(L[1, k + 1]), d(L[1, k + 2]), d(L[1, k + 3])
        c0, c1, c2, c3 = d(L[2, k]), d(L[2, k + 1]), d(L[2, k + 2]), d(L[2, k + 3])
        e0, e1, e2, e3 = d(L[3, k]), d(L[3, k + 1]), d(L[3, k + 2]), d(L[3, k + 3])
        y0, y1 = R[k, left:right], R[k + 1, left:right]
        y2, y3 = R[k + 2, left:right], R[k + 3, left:right]
        for j in range(right - left):
            p, q, r, s = d(y0[j]), d(y1[j]), d(y2[j]), d(y3[j])
            o0[j] = (((o0[j] + a0 * p) + a1 * q) + a2 * r) + a3 * s
            o1[j] = (((o1[j] + b0 * p) + b1 * q) + b2 * r) + b3 * s
            o2[j] = (((o2[j] + c0 * p) + c1 * q) + c2 * r) + c3 * s
            o3[j] = (((o3[j] + e0 * p) + e1 * q) + e2 * r) + e3 * s


@kernel
def _add_single_ranks(L: Factors, R: Factors, ranks: Span, span: Span, acc: Doubles) -> None:
    """Add L R to up to four rows, one rank at a time."""
    (first, last), (left, right) = ranks, span
    for k in range(first, last):
        y = R[k, left:right]
        for i in range(L.shape[0]):
            a = np.float64(L[i, k])
            sums = acc[i]
            for j in range(right - left):
                sums[j] = sums[j] + a * np.float64(y[j])


@kernel
def _add(values: Floats, total: Doubles, out: Floats) -> None:
    """Write RN32(RN64(W + S)); no product is near, so that nothing can be contracted."""
    for j in range(values.size):
        out[j] = np.float32(np.float64(values[j]) + total[j])


@kernel
def _all_finite(codes: NDArray[np.uint32]) -> bool:
    """Tell whether no float32 code is an infinity or a NaN."""
    largest = np.uint32(0)
    for j in range(codes.size):
        largest = max(largest, codes[j] & np.uint32(0x7FFFFFFF))
    return bool(largest < np.uint32(_EXPONENT_F32))
