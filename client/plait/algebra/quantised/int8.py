"""LLM.int8 of bitsandbytes (https://arxiv.org/abs/2208.07339): integers with a scale a row.

    v = RN32(RN32(c s[row]) k)      k = RN32(1/127) = 0x1.020408p-7

then rounded to the model's dtype, to nearest even. c is the code, of -127 to 127, and s[row] the
row's `SCB`, its largest magnitude. That is what `int8_vectorwise_dequant` of bitsandbytes computes,
in this order. The columns that LLM.int8 keeps apart as outliers are found in the activations: the
weight has all of its codes. The file does not tell what dtype it was quantised from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plait.algebra.kernels.dequantising import expand_int8
from plait.algebra.quantised.dequantiser import Floats, not_dequantisable, verify_finite
from plait.model.quantization import QuantizedWeight

INVERSE = np.float32(7.874015718698502e-3)
"""1/127 as bitsandbytes writes it."""
_ROW_MAJOR = b"\x00"
"""The one format of weights that is still written; others were of old GPU kernels."""


@dataclass(frozen=True, slots=True, eq=False)
class Int8Weight:
    """A weight of LLM.int8; a `Dequantiser`."""

    dtype: str
    shape: tuple[int, ...]
    """(out, in)."""
    scales: Floats
    """(out,)."""

    def find_codes(self, first: int, count: int) -> tuple[int, int]:
        """Return the place and the number of the bytes that hold some elements' codes."""
        return first, count

    def dequantise(self, codes: memoryview, first: int, count: int) -> Floats:
        """Return elements as float32; `codes` are the bytes that `find_codes` says."""
        out = np.empty(count, np.float32)
        numbers = np.frombuffer(codes, np.int8)
        expand_int8(numbers, first, self.shape[1], self.scales, INVERSE, out)
        return out


def open_int8(
    weight: QuantizedWeight, parts: Mapping[str, bytes], shape: tuple[int, ...], dtype: str
) -> Int8Weight:
    """Return a weight from its parts but the codes, whose shape is given; `dtype` is the model's.

    Raises:
        InvalidInput: `not-mergeable`, the parts contradict each other; `tensor-not-finite`.
    """
    if len(shape) != 2 or 0 in shape:
        raise not_dequantisable(weight.name, f"its codes have the shape {list(shape)}")
    if parts.get("weight_format", _ROW_MAJOR) != _ROW_MAJOR:
        raise not_dequantisable(weight.name, "its codes are not stored row by row")
    data = parts["SCB"]
    if len(data) != 4 * shape[0]:
        raise not_dequantisable(
            weight.name, f"SCB has {len(data) // 4} numbers for {shape[0]} rows"
        )
    scales = np.frombuffer(data, "<f4")
    verify_finite(weight.name, "SCB", scales)
    return Int8Weight(dtype, shape, scales)
