"""From float64 to the dtypes that adapters are stored in, by one rounding to nearest even.

float64 to float32 is one IEEE conversion. For F16 and BF16 a detour over float32 would round
twice, so the first step rounds to odd: where a value is not exact, the neighbour whose last bit
is 1. A second rounding of that gives what one rounding would, since float32 has more than two
bits more than either (Boldo and Melquiond, https://doi.org/10.1109/TC.2007.70819). Subnormals
are rounded like all others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.arrays import FloatArray, decode
from plait.algebra.delta import Matrix
from plait.errors import InvalidInput

DTYPES = ("F32", "F16", "BF16")


def encode(values: FloatArray, dtype: str, *, name: str = "the outcome") -> bytes:
    """Return the little-endian bytes of `values` in F32, F16 or BF16, in C order.

    `name` says in messages what is encoded.

    Raises:
        InvalidInput: `tensor-not-finite` where a value is not finite, or too large for `dtype`;
            `invalid-input` for another dtype.
    """
    exact = np.ascontiguousarray(values, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == "F32":
            codes: NDArray[np.generic] = exact.astype("<f4")
            is_finite = np.isfinite(codes)
        elif dtype == "F16":
            codes = _round_to_odd(exact).astype("<f2")
            is_finite = np.isfinite(codes)
        elif dtype == "BF16":
            codes = round_to_bfloat16(_round_to_odd(exact))
            is_finite = (codes & np.uint16(0x7FFF)) < np.uint16(0x7F80)
        else:
            raise InvalidInput(
                "invalid-input", f"Compositions are written in {', '.join(DTYPES)}, not in {dtype}."
            )
    if not is_finite.all():
        raise _not_finite(exact, dtype, name)
    return codes.tobytes()


def round_to(values: FloatArray, dtype: str, *, name: str = "the outcome") -> Matrix:
    """Return `values` as they read back from `dtype`, in float64. Raises as `encode` does."""
    return decode(encode(values, dtype, name=name), dtype, values.shape, precision=np.float64)


def _round_to_odd(values: Matrix) -> NDArray[np.float32]:
    """Round to float32: what is not exact becomes the neighbour whose last bit is 1."""
    nearest = values.astype(np.float32)
    back = nearest.astype(np.float64)
    codes = nearest.view(np.uint32).copy()
    is_even = (codes & np.uint32(1)) == 0
    # Among floats of one sign the code grows with the magnitude: one less is one step to zero.
    # What overflowed steps back to the largest float32, which overflows again where it should.
    outward = is_even & (np.abs(back) < np.abs(values))
    inward = is_even & (np.abs(back) > np.abs(values))
    codes[outward] += np.uint32(1)
    codes[inward] -= np.uint32(1)
    return codes.view(np.float32)


def round_to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the codes of bfloat16, the upper half of float32, rounded to nearest even."""
    codes = values.view(np.uint32)
    half = np.uint32(0x7FFF) + ((codes >> np.uint32(16)) & np.uint32(1))
    return ((codes + half) >> np.uint32(16)).astype("<u2")


def _not_finite(values: Matrix, dtype: str, name: str) -> InvalidInput:
    largest = float(np.max(np.abs(values), initial=0.0))
    if not np.isfinite(values).all():
        message = f"{name} has a value that is not finite: look at the inputs and their weights."
    else:
        message = (
            f"{name} has a value of magnitude {largest:.4g}, too large for {dtype}: "
            "write the outcome in F32 or BF16, or use smaller weights."
        )
    return InvalidInput("tensor-not-finite", message, dtype=dtype)
