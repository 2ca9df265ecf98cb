"""The value of one code of a small float, from the definition."""

import math


def value_of(code: int, *, exponent_bits: int, mantissa_bits: int, bias: int) -> float:
    """Return the value as if every exponent were an ordinary one."""
    sign = -1.0 if code >> (exponent_bits + mantissa_bits) else 1.0
    exponent = (code >> mantissa_bits) % 2**exponent_bits
    fraction = (code % 2**mantissa_bits) / 2**mantissa_bits
    if exponent == 0:
        return sign * math.ldexp(fraction, 1 - bias)
    return sign * math.ldexp(1 + fraction, exponent - bias)
