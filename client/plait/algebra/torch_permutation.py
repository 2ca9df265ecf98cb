"""The first places of the random permutation that torch draws on a CPU, without torch.

PEFT saves the numbers of a FourierFT adapter and not their places: those are
`torch.randperm(n, generator=torch.Generator().manual_seed(seed))`, which is

- MT19937 (M. Matsumoto, T. Nishimura, "Mersenne twister", 1998, https://doi.org/10.1145/272991.272995),
  its state filled from the lower 32 bits of the seed (aten/src/ATen/core/MT19937RNGEngine.h);
- a shuffle that puts a number into its place for good at each step
  (aten/src/ATen/native/TensorFactories.cpp, randperm_cpu), so that the first places need as many
  steps as there are of them. Above 2^32 / 20 numbers torch shuffles in another way, which needs all
  steps: that is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from plait.errors import InvalidInput

MOST_NUMBERS = (2**32 - 1) // 20
_WORDS = 624
_MIDDLE = 397
_MASK = 2**32 - 1


@lru_cache(maxsize=16)
def draw_permutation(n: int, *, seed: int, count: int) -> NDArray[np.int64]:
    """Return the first `count` numbers of the permutation of 0..n-1, read-only.

    Raises:
        InvalidInput: there are more places than numbers, or torch draws so many in another way.
    """
    if not 0 <= count <= n or n >= MOST_NUMBERS:
        raise InvalidInput(
            "invalid-input",
            f"The first {count} places of a permutation of {n} numbers cannot be drawn: at most "
            f"all of fewer than {MOST_NUMBERS} can.",
        )
    moved: dict[int, int] = {}
    places = np.empty(count, np.int64)
    numbers = _draw(seed)
    for place in range(count):
        # The last number is left over: torch draws nothing for it.
        other = place if place == n - 1 else place + next(numbers) % (n - place)
        places[place] = moved.get(other, other)
        moved[other] = moved.pop(place, place)
    places.flags.writeable = False
    return places


def _draw(seed: int) -> Iterator[int]:
    """Yield the numbers of 32 bits that MT19937 draws."""
    state = [seed & _MASK]
    for index in range(1, _WORDS):
        before = state[-1]
        state.append((1_812_433_253 * (before ^ (before >> 30)) + index) & _MASK)
    while True:
        for index in range(_WORDS):
            joined = (state[index] & 0x8000_0000) | (state[(index + 1) % _WORDS] & 0x7FFF_FFFF)
            twisted = (joined >> 1) ^ (0x9908_B0DF if joined & 1 else 0)
            state[index] = state[(index + _MIDDLE) % _WORDS] ^ twisted
        yield from map(_temper, state)


def _temper(word: int) -> int:
    word ^= word >> 11
    word ^= (word << 7) & 0x9D2C_5680
    word ^= (word << 15) & 0xEFC6_0000
    return word ^ (word >> 18)
