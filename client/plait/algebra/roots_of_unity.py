"""The n-th roots of unity, cos(2 pi k / n) and sin(2 pi k / n), with the same bits everywhere.

Libraries of sine and cosine differ in their last bits between machines. Here everything is whole
numbers: pi by Machin's formula (pi / 4 = 4 arctan(1/5) - arctan(1/239)), cosine and sine of the
first angle by their series, and the others by turning on, in fixed point with 192 bits behind the
point. Turning n times loses at most log2(n) + 3 of them. The one rounding at the end is Python's
division of integers, which is correct, so that every number is the double nearest to the true one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from plait.algebra.delta import Matrix
from plait.errors import InvalidInput

MOST_ROOTS = 2**24
_BITS = 192
_ONE = 1 << _BITS
_NOTHING = 1 << (_BITS - 100)
"""What is smaller is zero: of the true values, none but zero itself is."""


@lru_cache(maxsize=8)
def find_roots_of_unity(n: int) -> tuple[Matrix, Matrix]:
    """Return cos(2 pi k / n) and sin(2 pi k / n) for k = 0..n-1, as read-only arrays.

    Raises:
        InvalidInput: there are too many of them, or none.
    """
    if not 0 < n <= MOST_ROOTS:
        raise InvalidInput(
            "invalid-input", f"A circle of {n} parts is beyond the limit of {MOST_ROOTS}."
        )
    step_cosine, step_sine = _turn(2 * _find_pi() // n)
    cosine, sine = _ONE, 0
    cosines, sines = np.empty(n), np.empty(n)
    for k in range(n):
        cosines[k], sines[k] = _round(cosine), _round(sine)
        cosine, sine = (
            (cosine * step_cosine - sine * step_sine) >> _BITS,
            (sine * step_cosine + cosine * step_sine) >> _BITS,
        )
    cosines.flags.writeable = sines.flags.writeable = False
    return cosines, sines


def _find_pi() -> int:
    return 4 * (4 * _arctangent_of_inverse(5) - _arctangent_of_inverse(239))


def _arctangent_of_inverse(x: int) -> int:
    """Return arctan(1/x) = 1/x - 1/(3 x^3) + 1/(5 x^5) - ..."""
    power, total, k = _ONE // x, 0, 0
    while power:
        term = power // (2 * k + 1)
        total += term if k % 2 == 0 else -term
        power //= x * x
        k += 1
    return total


def _turn(angle: int) -> tuple[int, int]:
    """Return cosine and sine of an angle of up to a full turn, by their series."""
    cosine, sine, term, k = _ONE, 0, _ONE, 0
    while term:
        k += 1
        term = (term * angle >> _BITS) // k  # angle^k / k!
        if k % 2:
            sine += term if k % 4 == 1 else -term
        else:
            cosine += term if k % 4 == 0 else -term
    return cosine, sine


def _round(value: int) -> float:
    return 0.0 if abs(value) < _NOTHING else value / _ONE
