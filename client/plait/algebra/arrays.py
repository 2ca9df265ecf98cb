"""Bytes of a safetensors tensor to numpy arrays, also for the dtypes that numpy does not have.

- Every value of F16, BF16, F8_* and F32 is exact in float64 and in float32, so decoding them
  never rounds. F64 and integers beyond 2^24 are rounded where float32 is asked for, integers
  beyond 2^53 in any case.
- F8 formats follow "FP8 formats for deep learning" (https://arxiv.org/abs/2209.05433), the FNUZ
  variants and E8M0 the definitions of ml_dtypes (https://github.com/jax-ml/ml_dtypes).
- F4 and F6 pack several values into a byte and C64 is complex: they are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from plait.errors import Integrity, InvalidInput
from plait.model.safetensors_layout import tensor_size

FloatArray: TypeAlias = NDArray[np.floating]
_Float = TypeVar("_Float", np.float32, np.float64)

_NATIVE = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
_EXPONENT_BITS = {"F8_E4M3": 4, "F8_E5M2": 5, "F8_E4M3FNUZ": 4, "F8_E5M2FNUZ": 5}


def decode(
    data: bytes | memoryview,
    dtype: str,
    shape: Sequence[int],
    *,
    precision: type[_Float],
) -> NDArray[_Float]:
    """Return a tensor's values as a new array of `precision` (np.float64 or np.float32).

    Raises:
        InvalidInput: the dtype is not made of real numbers, one to an element.
        Integrity: there are more or fewer bytes than the shape needs.
    """
    expected = tensor_size(dtype, shape)
    if len(data) != expected:
        raise Integrity(
            "size-mismatch",
            f"A tensor of {dtype} {list(shape)} needs {expected} bytes and has {len(data)}.",
            expected=expected,
            actual=len(data),
        )
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaNs are values too
        # An array of its own in any case, so that the result never looks into the caller's bytes.
        return _values(data, dtype).astype(precision, copy=True).reshape(tuple(shape))


def decode_for_people(data: bytes | memoryview, dtype: str, shape: Sequence[int]) -> FloatArray:
    """Return a tensor's values as figures are computed from: F64 as it is, all else in float32.

    Raises as `decode` does.
    """
    if dtype == "F64":
        return decode(data, dtype, shape, precision=np.float64)
    return decode(data, dtype, shape, precision=np.float32)


def _values(data: bytes | memoryview, dtype: str) -> NDArray[np.generic]:
    if dtype in _NATIVE:
        return np.frombuffer(data, _NATIVE[dtype])
    if dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        return (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype == "F8_E8M0":
        return _scale_table()[np.frombuffer(data, np.uint8)]
    if dtype in _EXPONENT_BITS:
        return _byte_table(dtype)[np.frombuffer(data, np.uint8)]
    raise InvalidInput(
        "invalid-input",
        f"Tensors of dtype {dtype} cannot be computed with: convert them to F32, F16 or BF16.",
        dtype=dtype,
    )


@cache
def _byte_table(dtype: str) -> NDArray[np.float32]:
    """Return the value of each of the 256 bytes of an 8-bit float with a sign."""
    exponent_bits = _EXPONENT_BITS[dtype]
    mantissa_bits = 7 - exponent_bits
    is_fnuz = dtype.endswith("FNUZ")
    bias = 2 ** (exponent_bits - 1) - (0 if is_fnuz else 1)
    codes = np.arange(256)
    exponents = (codes >> mantissa_bits) & (2**exponent_bits - 1)
    fractions = (codes & (2**mantissa_bits - 1)) / 2**mantissa_bits
    # An exponent of zero is a subnormal: no hidden one, and the scale of exponent 1.
    significands = np.where(exponents == 0, fractions, 1 + fractions)
    signs = np.where(codes < 128, 1.0, -1.0)
    values = signs * np.ldexp(significands, np.maximum(exponents, 1) - bias)
    if is_fnuz:
        values[0x80] = np.nan  # what would be minus zero; there is no infinity
    elif dtype == "F8_E4M3":
        values[[0x7F, 0xFF]] = np.nan  # no infinity
    else:
        values[[0x7C, 0xFC]] = np.inf, -np.inf
        values[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]] = np.nan
    return np.asarray(values, np.float32)


@cache
def _scale_table() -> NDArray[np.float32]:
    """Return the value of each byte of E8M0: a power of two, without sign or zero."""
    values = np.ldexp(1.0, np.arange(256) - 127)
    values[0xFF] = np.nan
    return np.asarray(values, np.float32)
