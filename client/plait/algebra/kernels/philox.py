"""Philox4x32-10: 128 random bits for each value of a counter.

Salmon et al., https://doi.org/10.1145/2063384.2063405, section 4.3 and its Random123 library.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Word: TypeAlias = np.unsignedinteger[Any]
Words: TypeAlias = tuple[Word, Word, Word, Word]
"""32 bits each, in uint64."""

_M0 = np.uint64(0xD251_1F53)
_M1 = np.uint64(0xCD9E_8D57)
_W0 = np.uint64(0x9E37_79B9)
_W1 = np.uint64(0xBB67_AE85)
_LOW = np.uint64(0xFFFF_FFFF)
_32 = np.uint64(32)
_ROUNDS = 10


@kernel
def generate_block(counter: Words, key: tuple[Word, Word]) -> Words:
    """Return four words for four words of counter and two of key, all in uint64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@kernel
def fill_uniforms(words: NDArray[np.uint32], start: int, out: NDArray[np.float64]) -> None:
    """Fill `out` with the numbers from `start` on: two to a block.

    `words` are key 0, key 1, counter 2, counter 3.
    """
    key = (np.uint64(words[0]), np.uint64(words[1]))
    c2, c3 = np.uint64(words[2]), np.uint64(words[3])
    first = start - start % 2
    for number in range(first, start + out.size, 2):
        block = np.uint64(number // 2)
        w0, w1, w2, w3 = generate_block((block & _LOW, block >> _32, c2, c3), key)
        if number >= start:
            out[number - start] = _join(w0, w1)
        if number + 1 < start + out.size:
            out[number + 1 - start] = _join(w2, w3)


@kernel
def _join(a: Word, b: Word) -> float:
    """Return 53 of the 64 bits as a number in [0, 1); every step is exact."""
    whole = ((a >> np.uint64(5)) << np.uint64(26)) | (b >> np.uint64(6))
    return np.float64(np.int64(whole)) * (1.0 / 9007199254740992.0)
