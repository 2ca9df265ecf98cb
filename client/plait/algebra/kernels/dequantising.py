"""Codes of quantised weights to float32: products, each with a rounding of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Integers = NDArray[np.int8]


@kernel
def expand_4bit(
    codes: Bytes, first: int, table: Floats, scales: Floats, blocksize: int, out: Floats
) -> None:
    """Write elements from number `first` on: T[c] a[e // blocksize].

    `codes` begin with the byte of element `first`; two to a byte, the upper half first. `table`
    (16,), `scales` (blocks of the whole weight,).
    """
    origin = first // 2
    end = first + out.size
    e = first
    while e < end:
        block = e // blocksize
        scale = scales[block]
        stop = min(end, (block + 1) * blocksize)
        if e % 2 == 1:
            out[e - first] = table[codes[e // 2 - origin] & 15] * scale
            e += 1
        pairs = (stop - e) // 2
        at, place = e // 2 - origin, e - first
        for i in range(pairs):
            code = codes[at + i]
            out[place + 2 * i] = table[code >> 4] * scale
            out[place + 2 * i + 1] = table[code & 15] * scale
        e += 2 * pairs
        if e < stop:
            out[e - first] = table[codes[e // 2 - origin] >> 4] * scale
            e += 1


@kernel
def expand_int8(
    codes: Integers, first: int, columns: int, scales: Floats, unit: np.float32, out: Floats
) -> None:
    """Write elements from number `first` on: (c s[row]) unit.

    `codes` begin with element `first` of a matrix of `columns`; `scales` (rows,).
    """
    done = 0
    while done < out.size:
        row = (first + done) // columns
        stop = min(out.size, (row + 1) * columns - first)
        scale = scales[row]
        for i in range(done, stop):
            out[i] = (np.float32(codes[i]) * scale) * unit
        done = stop
