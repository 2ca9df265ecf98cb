"""Random numbers from a counter: the same for the same seed and name, on every machine.

The generator is Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
(https://doi.org/10.1145/2063384.2063405): block number in, 128 random bits out, no state. sha256
over the canonical JSON

    {"format": "plait.uniforms/1", "name": NAME, "seed": "SEED", "stream": STREAM}

gives the key (bytes 0 to 7, as two little-endian words) and the upper half of the counter (bytes 8
to 15); the block number is its lower half. Words 0 and 1 of a block make one uniform, words 2 and
3 the next: ((a >> 5) * 2^26 + (b >> 6)) / 2^53, a multiple of 2^-53 in [0, 1).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.philox import fill_uniforms
from plait.model import canonical

FORMAT = "plait.uniforms/1"


def uniforms(
    seed: int, name: str, stream: int, count: int, *, start: int = 0
) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1) from the place `start` on of an endless sequence, (count,).

    `seed` is any integer, `name` usually a tensor's, `stream` tells the sequences of one name
    apart. A piece has the numbers of the whole.
    """
    numbers = np.empty(count)
    fill_uniforms(_words(seed, name, stream), start, numbers)
    return numbers


def _words(seed: int, name: str, stream: int) -> NDArray[np.uint32]:
    """Return key 0, key 1, counter 2, counter 3."""
    document = {"format": FORMAT, "name": name, "seed": str(seed), "stream": stream}
    digest = hashlib.sha256(canonical.dumps(document)).digest()
    return np.frombuffer(digest[:16], "<u4").astype(np.uint32)
