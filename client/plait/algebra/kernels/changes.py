"""How two blocks of one tensor differ: a sum of squares in a fixed order, and counts.

`lanes` is the (128,) state of the sum: element i of the whole tensor adds to lane i mod 128, so
that blocks of any size give the same bits. Codes are those of float32; 16-bit floats are widened
in tiles that stay in the first-level cache.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel
from plait.algebra.kernels.dots import LANES
from plait.algebra.kernels.widening import Codes16, Codes32, widen_bf16, widen_f16

Vector = NDArray[np.float64]
Floats = NDArray[np.float32]
Codes: TypeAlias = Codes16 | Codes32
Code: TypeAlias = np.uint16 | np.uint32

TILE = 1024
"""Elements: 4 KiB of each side as float32. Counts of a tile fit into 16 bits."""
_STRIDE = 4 * LANES
# Unsigned, so that the loop over lanes is vectorised, as in `dots`.
_LANES = np.uint64(LANES)
_1, _2, _3 = np.uint64(LANES), np.uint64(2 * LANES), np.uint64(3 * LANES)
EXPONENT_F32 = np.uint32(0x7F800000)
"""All bits of it are set in infinities and NaNs alone."""
EXPONENT_BF16 = np.uint16(0x7F80)
EXPONENT_F16 = np.uint16(0x7C00)


@kernel
def add_change_16(
    base: Codes16, merged: Codes16, exponent: Code, start: int, lanes: Vector
) -> tuple[int, int]:
    """Add the squares of merged - base, and return how many codes differ and are not finite.

    base and merged (n,) are codes of the format that has `exponent`, F16 or BF16; the first
    one's place in the tensor is `start`. Where either is not finite, nothing is added.
    """
    wide_base, wide_merged = np.empty(TILE, np.uint32), np.empty(TILE, np.uint32)
    changed, not_finite = 0, 0
    # The first tile ends at a multiple of its size, so that all others begin in lane 0.
    left = 0
    while left < base.size:
        right = min(left + TILE - (start + left) % TILE, base.size)
        old, new = base[left:right], merged[left:right]
        x, y = wide_base[: right - left], wide_merged[: right - left]
        if exponent == EXPONENT_F16:
            widen_f16(old, x)
            widen_f16(new, y)
        else:
            widen_bf16(old, x)
            widen_bf16(new, y)
        differ, bad, bad_before = _count_codes(old, new, exponent)
        _add_tile(x, y, start + left, bad + bad_before, lanes)
        changed, not_finite = changed + differ, not_finite + bad
        left = right
    return changed, not_finite


@kernel
def add_change_32(base: Codes32, merged: Codes32, start: int, lanes: Vector) -> tuple[int, int]:
    """Do as `add_change_16` for codes of float32."""
    changed, not_finite = 0, 0
    left = 0
    while left < base.size:
        right = min(left + TILE - (start + left) % TILE, base.size)
        x, y = base[left:right], merged[left:right]
        differ, bad, bad_before = _count_codes(x, y, EXPONENT_F32)
        _add_tile(x, y, start + left, bad + bad_before, lanes)
        changed, not_finite = changed + differ, not_finite + bad
        left = right
    return changed, not_finite


@kernel
def _count_codes(base: Codes, merged: Codes, exponent: Code) -> tuple[int, int, int]:
    """Return how many codes differ, and how many of `merged` and `base` have a full exponent."""
    # Sixteen bits, so that many fit into a vector: a tile has no more elements.
    changed, not_finite, not_finite_before = np.uint16(0), np.uint16(0), np.uint16(0)
    for i in range(base.size):
        changed = np.uint16(changed + np.uint16(base[i] != merged[i]))
        not_finite = np.uint16(not_finite + np.uint16(merged[i] & exponent == exponent))
        not_finite_before = np.uint16(not_finite_before + np.uint16(base[i] & exponent == exponent))
    return int(changed), int(not_finite), int(not_finite_before)


@kernel
def _add_tile(base: Codes32, merged: Codes32, start: int, bad: int, lanes: Vector) -> None:
    """Add the squares of up to `TILE` differences; of `bad` elements either is not finite."""
    x, y = base.view(np.float32), merged.view(np.float32)
    if bad == 0 and start % LANES == 0 and base.size % _STRIDE == 0:
        _add_squares(x, y, lanes)
        return
    for i in range(base.size):
        if base[i] & EXPONENT_F32 != EXPONENT_F32 and merged[i] & EXPONENT_F32 != EXPONENT_F32:
            change = np.float64(y[i]) - np.float64(x[i])
            lane = (start + i) % LANES
            lanes[lane] = lanes[lane] + change * change


@kernel
def _add_squares(base: Floats, merged: Floats, lanes: Vector) -> None:
    """Add whole strides that begin in lane 0; four rows share a load of each sum."""
    d = np.float64
    for left in range(0, base.size, _STRIDE):
        x, y = base[left : left + _STRIDE], merged[left : left + _STRIDE]
        for lane in range(_LANES):
            a = d(y[lane]) - d(x[lane])
            b = d(y[lane + _1]) - d(x[lane + _1])
            c = d(y[lane + _2]) - d(x[lane + _2])
            e = d(y[lane + _3]) - d(x[lane + _3])
            lanes[lane] = (((lanes[lane] + a * a) + b * b) + c * c) + e * e
