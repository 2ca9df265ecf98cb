"""The state that bitsandbytes keeps beside a 4-bit weight: JSON in a tensor of bytes.

    {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [128, 352],
     "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.23633505403995514}

The last three are there with nested quantisation, where the scales are quantised as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.finite_numbers import check_number
from plait.model.quantization import QuantizedWeight
from plait.model.safetensors_layout import LARGEST_COUNT, MOST_DIMENSIONS

BLOCK_SIZES = frozenset(2**power for power in range(5, 13))
"""Elements that share a scale: what bitsandbytes takes."""
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Of dequantised weights: torch's words and safetensors'."""
LARGEST_STATE = 10_000
"""Bytes of the JSON; bitsandbytes writes some 170."""


@dataclass(frozen=True, slots=True)
class QuantState:
    """What a 4-bit weight is when it is dequantised."""

    dtype: str
    """Safetensors' word for what the weight was quantised from."""
    shape: tuple[int, ...]
    blocksize: int
    """Elements of a block, in C order, which share a scale."""
    nested_blocksize: int | None
    """Scales of a block that share a scale of their own; None: scales are plain numbers."""
    nested_offset: float
    """What is added to each dequantised scale: their mean when they were quantised."""

    @property
    def count(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def blocks(self) -> int:
        """Of elements; the last one may be short."""
        return -(-self.count // self.blocksize)


def parse_quant_state(weight: QuantizedWeight, data: bytes) -> QuantState:
    """Parse the bytes of a weight's state.

    Raises:
        InvalidInput: `not-mergeable`, it is none that bitsandbytes writes.
    """
    if len(data) > LARGEST_STATE:
        raise _refuse(weight, f"has {len(data)} bytes")
    try:
        held = canonical.loads(data)
    except InvalidInput as error:
        raise _refuse(weight, f"is no JSON ({error.message})") from error
    if not isinstance(held, dict):
        raise _refuse(weight, "is no JSON object")
    if held.get("quant_type") != weight.scheme:
        raise _refuse(weight, f"is that of {held.get('quant_type')!r:.40}, not {weight.scheme}")
    dtype = held.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _refuse(weight, f"has the dtype {dtype!r:.40}")
    is_nested = "nested_absmax" in weight.parts
    if is_nested and held.get("nested_dtype") != "float32":
        raise _refuse(weight, f"has the nested dtype {held.get('nested_dtype')!r:.40}")
    return QuantState(
        dtype=DTYPES[dtype],
        shape=_read_shape(weight, held.get("shape")),
        blocksize=_read_block_size(weight, held.get("blocksize")),
        nested_blocksize=(
            _read_block_size(weight, held.get("nested_blocksize")) if is_nested else None
        ),
        nested_offset=_read_offset(weight, held.get("nested_offset")) if is_nested else 0.0,
    )


def _read_shape(weight: QuantizedWeight, value: Any) -> tuple[int, ...]:
    is_shape = isinstance(value, list) and 0 < len(value) <= MOST_DIMENSIONS
    if not is_shape or any(type(size) is not int or size < 1 for size in value):
        raise _refuse(weight, f"has the shape {value!r:.80}")
    if prod(value) > LARGEST_COUNT:
        raise _refuse(weight, f"has a shape of over {LARGEST_COUNT} elements")
    return tuple(value)


def _read_block_size(weight: QuantizedWeight, value: Any) -> int:
    if type(value) is not int or value not in BLOCK_SIZES:
        raise _refuse(weight, f"has blocks of {value!r:.40} elements")
    return value


def _read_offset(weight: QuantizedWeight, value: Any) -> float:
    try:
        return check_number(value)
    except ValueError as error:
        raise _refuse(weight, f"has {value!r:.40} as nested_offset: it needs {error}") from error


def _refuse(weight: QuantizedWeight, reason: str) -> InvalidInput:
    return InvalidInput(
        "not-mergeable",
        f"The quantised weight {weight.name} cannot be dequantised: its quant_state {reason}. Take "
        "the base as bitsandbytes wrote it, or its original weights.",
        tensor=weight.name,
    )
