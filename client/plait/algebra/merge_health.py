"""How far a merge moved a tensor: figures gathered while its blocks pass by.

    norm      sqrt(sum over i of (f64(merged[i]) - f64(base[i]))^2), elements with a number that
              is not finite left out

The sum is of a fixed order in float64: element i adds to lane i mod 128, ascending, and the lanes
are folded in halves (`kernels.dots`). So the figures are the same, bit for bit, for blocks of any
size and on every machine, and two validators may compare them.

Base weights of merge-fp64-v1 are F32, F16 or BF16; no other dtype is taken.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.changes import (
    EXPONENT_BF16,
    EXPONENT_F16,
    add_change_16,
    add_change_32,
)
from plait.algebra.kernels.dots import LANES, fold
from plait.errors import Integrity, InvalidInput
from plait.model.tensor_health import TensorHealth

Block: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]
"""Little-endian elements in C order, one after the other."""
CODES = {"F32": "<u4", "F16": "<u2", "BF16": "<u2"}
"""As what numbers the codes of an element are read."""


class MergeHealth:
    """Gathers the figures of one tensor from its blocks, which come in order."""

    def __init__(self, dtype: str) -> None:
        """Begin a tensor of F32, F16 or BF16.

        Raises:
            InvalidInput: `not-mergeable`, another dtype.
        """
        self._codes = find_codes(dtype)
        self._dtype = dtype
        self._lanes = np.zeros(LANES)
        self._elements = 0
        self._changed = 0
        self._not_finite = 0

    def add(self, base: Block, merged: Block) -> None:
        """Look at the next block of the base's tensor and of the merged one; nothing is copied.

        Raises:
            Integrity: `size-mismatch`, the blocks are not as long as each other, or end inside an
                element.
        """
        old, new = view_codes(base, self._codes), view_codes(merged, self._codes)
        if old.size != new.size:
            raise Integrity(
                "size-mismatch",
                f"A block of {old.size} elements was merged into one of {new.size}.",
                expected=old.size,
                actual=new.size,
            )
        if self._dtype == "F32":
            counts = add_change_32(old, new, self._elements, self._lanes)
        else:
            exponent = EXPONENT_F16 if self._dtype == "F16" else EXPONENT_BF16
            counts = add_change_16(old, new, exponent, self._elements, self._lanes)
        self._elements += old.size
        self._changed += counts[0]
        self._not_finite += counts[1]

    def finish(self) -> TensorHealth:
        """Return the figures of all blocks so far; a tensor without elements did not change."""
        squares = float(fold(self._lanes.copy()))
        return TensorHealth(
            norm=math.sqrt(squares),
            changed_share=self._changed / self._elements if self._elements else 0.0,
            not_finite=self._not_finite,
            elements=self._elements,
        )


def find_codes(dtype: str) -> str:
    """Return numpy's name of the numbers that a dtype's codes are.

    Raises:
        InvalidInput: `not-mergeable`, a dtype that merge-fp64-v1 does not know.
    """
    if dtype not in CODES:
        raise InvalidInput(
            "not-mergeable",
            f"Weights of dtype {dtype} are merged by no definition: F32, F16 and BF16 are.",
            dtype=dtype,
        )
    return CODES[dtype]


def view_codes(block: Block, codes: str) -> NDArray[Any]:
    """Return the codes of a block, without a copy.

    Raises:
        Integrity: `size-mismatch`, it ends inside an element.
    """
    content, width = np.frombuffer(block, np.uint8), np.dtype(codes).itemsize
    if content.size % width:
        raise Integrity(
            "size-mismatch",
            f"A block of {content.size} bytes ends inside an element of {width}.",
            expected=content.size - content.size % width,
            actual=content.size,
        )
    return content.view(codes)
