"""Angles with the same bits on every machine: + - * / and square roots alone.

The mathematics libraries of different systems round sin, cos and acos differently in their last
digit, so that what they give may not reach the bytes of an outcome. These are within a few units of
the last place of the true values: tested to 1e-15 relative for arc_cosine, to 2e-16 absolute and
4e-16 relative for sine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

PI = math.pi
_HALVINGS = 2
"""Of half the angle, until its tangent is at most tan(pi / 16) = 0.199."""
_ARC_TANGENT = tuple((-1.0) ** k / (2 * k + 1) for k in range(12))
"""x - x^3/3 + x^5/5 - ...: the first term left out is 6e-19 of the sum where x <= 0.199."""
_SINE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(10))
_COSINE = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(10))
"""Of Taylor: what is left out is below 3e-22 where |x| <= pi / 4."""

# pi / 2 in three parts: the first two have 33 bits, so that small multiples of them are exact
# (fdlibm, e_rem_pio2.c).
_HALF_PI_1 = float.fromhex("0x1.921fb54400000p+0")
_HALF_PI_2 = float.fromhex("0x1.0b4611a600000p-34")
_HALF_PI_3 = float.fromhex("0x1.3198a2e037073p-69")


def arc_cosine(cosine: float) -> float:
    """Return the angle in [0, pi]; a cosine outside [-1, 1] counts as the nearest that is inside.

    The angle belongs to the cosine as it was given, also near 0, where 1 - cosine is exact.
    """
    if cosine < 0.0:
        return PI - arc_cosine(-cosine)
    if cosine >= 1.0:
        return 0.0
    # tan(a / 2) from cos(a), then tan(a / 4) and so on: none of these steps cancels.
    tangent = math.sqrt((1.0 - cosine) / (1.0 + cosine))  # at most 1
    for _ in range(_HALVINGS):
        tangent = tangent / (1.0 + math.sqrt(1.0 + tangent * tangent))
    return 2.0 ** (_HALVINGS + 1) * (tangent * _polynomial(_ARC_TANGENT, tangent * tangent))


def sine(angle: float) -> float:
    """Return sin(angle), for angles of up to a million."""
    quadrant, rest = _reduce(angle)
    value = _sine(rest) if quadrant % 2 == 0 else _cosine(rest)
    return value if quadrant < 2 else -value


def cosine(angle: float) -> float:
    """Return cos(angle), for angles of up to a million."""
    quadrant, rest = _reduce(angle)
    value = _cosine(rest) if quadrant % 2 == 0 else _sine(rest)
    return value if quadrant in {0, 3} else -value


def _reduce(angle: float) -> tuple[int, float]:
    """Return angle = n pi/2 + rest as n modulo 4 and the rest, at most about pi/4."""
    turns = math.floor(angle * (2.0 / PI) + 0.5)
    rest = ((angle - turns * _HALF_PI_1) - turns * _HALF_PI_2) - turns * _HALF_PI_3
    return turns % 4, rest


def _sine(x: float) -> float:
    return x * _polynomial(_SINE, x * x)


def _cosine(x: float) -> float:
    return _polynomial(_COSINE, x * x)


def _polynomial(terms: Sequence[float], x: float) -> float:
    """Return terms[0] + terms[1] x + terms[2] x^2 + ..., from the last term on."""
    total = 0.0
    for term in reversed(terms):
        total = total * x + term
    return total
