"""What every scheme offers: elements of a weight, from the bytes of their codes alone.

A weight is dequantised in blocks of any size and at any place, in the C order of its elements, so
that neither it nor its codes are ever whole in memory; only its scales are.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.narrowing import narrow_bf16
from plait.errors import InvalidInput

Floats = NDArray[np.float32]


class Dequantiser(Protocol):
    """One quantised weight, with its scales read."""

    @property
    def dtype(self) -> str:
        """Of the dequantised weight, as safetensors writes it."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dequantised weight."""
        ...

    def find_codes(self, first: int, count: int) -> tuple[int, int]:
        """Return the place and the number of the bytes that hold some elements' codes."""
        ...

    def dequantise(self, codes: memoryview, first: int, count: int) -> Floats:
        """Return elements as float32; `codes` are the bytes that `find_codes` says."""
        ...


def narrow(values: Floats, dtype: str) -> bytes:
    """Round float32 to F32, F16 or BF16, to nearest even; returns little-endian bytes."""
    if dtype == "F32":
        return values.astype("<f4", copy=False).tobytes()
    if dtype == "F16":
        with np.errstate(over="ignore"):  # an infinity is refused where it is merged into
            return values.astype("<f2").tobytes()
    codes = np.empty(values.size, "<u2")
    narrow_bf16(values.view(np.uint32), codes)
    return codes.tobytes()


def not_dequantisable(name: str, reason: str) -> InvalidInput:
    """Return the error that a weight's tensors contradict each other."""
    return InvalidInput(
        "not-mergeable",
        f"The quantised weight {name} cannot be dequantised: {reason}. Take the base as "
        "bitsandbytes wrote it, or its original weights.",
        tensor=name,
    )


def verify_finite(name: str, part: str, values: Floats) -> None:
    """Check the numbers that codes are multiplied by.

    Raises:
        InvalidInput: `tensor-not-finite`.
    """
    if not np.isfinite(values).all():
        raise InvalidInput(
            "tensor-not-finite",
            f"The quantised weight {name} has a NaN or an infinity in {part}: take an intact copy "
            "of the base.",
            tensor=name,
        )
