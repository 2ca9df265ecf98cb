"""NF4 and FP4 of bitsandbytes, scales plain or nested (https://arxiv.org/abs/2305.14314).

Element e of a weight, in C order, has a 4-bit code c, in the upper half of byte e // 2 where e is
even, in the lower half where it is odd, and belongs to block b = e // blocksize:

    v = RN32(T[c] a[b])
    a[b] = absmax[b]                                                       with plain scales
    a[b] = RN32(RN32(M[absmax[b]] s[b // nested_blocksize]) + RN32(offset))      with nested

then v is rounded to the weight's dtype, to nearest even. T is the scheme's table below, M the
file's `nested_quant_map`, s its `nested_absmax`. Product and sum are two roundings: a machine that
fuses them gets other bits.

T is that of bitsandbytes' CUDA kernels, where FP4's code 8 is -0.0. A `quant_map` in the file must
agree with it; bitsandbytes writes +0.0 there and never reads it back on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plait.algebra.kernels.dequantising import expand_4bit
from plait.algebra.quantised.dequantiser import Floats, not_dequantisable, verify_finite
from plait.model.quant_state import QuantState, parse_quant_state
from plait.model.quantization import QuantizedWeight, Scheme

NF4 = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
"""Quantiles of the normal distribution: appendix E of the paper."""
_TWELFTHS = (0, 0.0625, 8, 12, 4, 6, 2, 3, -0.0, -0.0625, -8, -12, -4, -6, -2, -3)
FP4 = np.array(_TWELFTHS, np.float32) / np.float32(12)
"""A sign, two bits of exponent and one of mantissa, in units of the largest."""
TABLES = {Scheme.NF4: NF4, Scheme.FP4: FP4}


@dataclass(frozen=True, slots=True, eq=False)
class FourBitWeight:
    """A 4-bit weight; a `Dequantiser`."""

    state: QuantState
    table: Floats
    """(16,)."""
    scales: Floats
    """(blocks,)."""

    @property
    def dtype(self) -> str:
        """Of the dequantised weight."""
        return self.state.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dequantised weight."""
        return self.state.shape

    def find_codes(self, first: int, count: int) -> tuple[int, int]:
        """Return the place and the number of the bytes that hold some elements' codes."""
        return first // 2, (first + count + 1) // 2 - first // 2

    def dequantise(self, codes: memoryview, first: int, count: int) -> Floats:
        """Return elements as float32; `codes` are the bytes that `find_codes` says."""
        out = np.empty(count, np.float32)
        packed = np.frombuffer(codes, np.uint8)
        expand_4bit(packed, first, self.table, self.scales, self.state.blocksize, out)
        return out


def open_4bit(weight: QuantizedWeight, parts: Mapping[str, bytes], size: int) -> FourBitWeight:
    """Return a weight from its parts but the codes, of which there are `size` bytes.

    Raises:
        InvalidInput: `not-mergeable`, the parts contradict each other; `tensor-not-finite`.
    """
    state = parse_quant_state(weight, parts["state"])
    if size != (state.count + 1) // 2:
        raise not_dequantisable(
            weight.name, f"{size} bytes of codes do not make {list(state.shape)} elements"
        )
    table = TABLES[weight.scheme]
    if "quant_map" in parts and not np.array_equal(_floats(weight, parts, "quant_map", 16), table):
        raise not_dequantisable(weight.name, f"its quant_map is not the table of {weight.scheme}")
    return FourBitWeight(state, table, _read_scales(weight, state, parts))


def _read_scales(weight: QuantizedWeight, state: QuantState, parts: Mapping[str, bytes]) -> Floats:
    """Return the scale of each block."""
    if state.nested_blocksize is None:
        scales = _floats(weight, parts, "absmax", state.blocks)
    else:
        groups = -(-state.blocks // state.nested_blocksize)
        means = _floats(weight, parts, "nested_quant_map", 256)
        steps = np.repeat(_floats(weight, parts, "nested_absmax", groups), state.nested_blocksize)
        codes = np.frombuffer(parts["absmax"], np.uint8)
        if codes.size != state.blocks:
            raise _wrong_size(weight, "absmax", codes.size, state.blocks)
        with np.errstate(over="ignore"):
            products = means[codes] * steps[: state.blocks]  # (blocks,)
            scales = products + np.float32(state.nested_offset)
    verify_finite(weight.name, "its scales", scales)
    return scales


def _floats(weight: QuantizedWeight, parts: Mapping[str, bytes], part: str, count: int) -> Floats:
    """Return a part's numbers."""
    data = parts[part]
    if len(data) != 4 * count:
        raise _wrong_size(weight, part, len(data) // 4, count)
    values = np.frombuffer(data, "<f4")
    verify_finite(weight.name, part, values)
    return values


def _wrong_size(weight: QuantizedWeight, part: str, actual: int, expected: int) -> Exception:
    return not_dequantisable(weight.name, f"{part} has {actual} numbers, not {expected}")
