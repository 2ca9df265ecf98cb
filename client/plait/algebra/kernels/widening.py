"""Codes of 16-bit floats to codes of float32: every value is exact.

Written for vector units: a loop over one array into another, without a branch. No denormal number
of float32 is computed with, so switched-off denormal numbers do not show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Codes16 = NDArray[np.uint16]
Codes32 = NDArray[np.uint32]

_16 = np.uint32(16)
_13 = np.uint32(13)
_SIGN = np.uint32(0x8000)
_MAGNITUDE = np.uint32(0x7FFF)
_HALF_INFINITY = np.uint32(0x7C00)
_SMALLEST_NORMAL = np.uint32(0x0400)
_REBIASED = np.uint32((127 - 15) << 23)
"""What float32's exponent is larger by, in its place."""
_UNIT = np.float32(2.0**-24)
_REBIASED_INFINITY = np.uint32((255 - 31) << 23)


@kernel
def widen_bf16(codes: Codes16, wide: Codes32) -> None:
    """Write the float32 codes of bfloat16 codes: these are the upper half."""
    for i in range(codes.size):
        wide[i] = np.uint32(codes[i]) << _16


@kernel
def widen_f16(codes: Codes16, wide: Codes32) -> None:
    """Write the float32 codes of IEEE binary16 codes; a NaN keeps its payload."""
    for i in range(codes.size):
        code = np.uint32(codes[i])
        magnitude = code & _MAGNITUDE
        # A subnormal is a whole number times 2^-24, which float32 holds as a normal number.
        subnormal = np.float32(np.float32(np.int32(magnitude)) * _UNIT).view(np.uint32)
        shifted = magnitude << _13
        finite = subnormal if magnitude < _SMALLEST_NORMAL else np.uint32(shifted + _REBIASED)
        bits = finite if magnitude < _HALF_INFINITY else np.uint32(shifted + _REBIASED_INFINITY)
        wide[i] = ((code & _SIGN) << _16) | bits
