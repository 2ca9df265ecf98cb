"""A check that no tensor holds a NaN or an infinity, made while the bytes stream past.

An IEEE number is not finite if, and only if, all bits of its exponent are set. Read as an
integer, it is then at least the code of infinity: among the unsigned integers for negative
numbers, among the signed ones for positive. Two maxima over a block decide, without a temporary
array; the block is small enough to stay in the cache between them.

Holds at most one element's bytes between two pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plait.errors import InvalidInput
from plait.model.safetensors_layout import TensorRange

BLOCK_SIZE = 256 * 1024
"""Bytes. Smaller blocks pay for their calls (64 KiB: half the speed), larger leave the cache."""


@dataclass(frozen=True, slots=True)
class _Format:
    """Which codes of a dtype are not finite."""

    unsigned: np.dtype[np.unsignedinteger]
    signed: np.dtype[np.signedinteger]
    positive: int
    """From this code up, read as signed, positive numbers are not finite."""
    negative: int
    """From this code up, read as unsigned, negative numbers are not finite."""
    per_element: int = 1
    """Numbers in an element: two for complex."""


def _ieee(size: int, infinity: int, per_element: int = 1) -> _Format:
    sign = 1 << (8 * size - 1)
    return _Format(
        np.dtype(f"<u{size}"), np.dtype(f"<i{size}"), infinity, infinity | sign, per_element
    )


_FORMATS = {
    "F64": _ieee(8, 0x7FF0_0000_0000_0000),
    "F32": _ieee(4, 0x7F80_0000),
    "C64": _ieee(4, 0x7F80_0000, per_element=2),
    "F16": _ieee(2, 0x7C00),
    "BF16": _ieee(2, 0x7F80),
    "F8_E5M2": _ieee(1, 0x7C),
    "F8_E4M3": _ieee(1, 0x7F),  # no infinity, one NaN of each sign
}
_SINGLE_NAN = {
    "F8_E8M0": 0xFF,
    "F8_E4M3FNUZ": 0x80,
    "F8_E5M2FNUZ": 0x80,
}
"""Formats with no infinity and one NaN."""
ALWAYS_FINITE = frozenset(
    {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F4", "F6_E2M3", "F6_E3M2"}
)
"""Dtypes in which every code is a number."""


class FiniteCheck:
    """Refuses tensors with a NaN or an infinity: a `plait.model.digesting.TensorObserver`."""

    def __init__(self) -> None:
        self._tensor: TensorRange | None = None
        self._seen = 0
        self._carried = b""

    def __call__(self, tensor: TensorRange, piece: memoryview, /) -> None:
        """Look at the next piece of `tensor`.

        Raises:
            InvalidInput: a number that is not finite; the message says where.
        """
        if tensor.dtype in ALWAYS_FINITE:
            return
        if self._tensor != tensor or self._seen == tensor.size:
            self._tensor, self._seen, self._carried = tensor, 0, b""
        self._check(tensor, piece)
        self._seen += len(piece)

    def _check(self, tensor: TensorRange, piece: memoryview) -> None:
        width = _width_of(tensor.dtype)
        start = self._seen - len(self._carried)
        if self._carried:
            missing = width - len(self._carried)
            self._carried += bytes(piece[:missing])
            if len(self._carried) < width:
                return
            _verify_block(tensor, np.frombuffer(self._carried, np.uint8), start)
            piece, start, self._carried = piece[missing:], start + width, b""
        whole = len(piece) - len(piece) % width
        codes = np.frombuffer(piece, np.uint8, count=whole)
        for offset in range(0, whole, BLOCK_SIZE):
            _verify_block(tensor, codes[offset : offset + BLOCK_SIZE], start + offset)
        self._carried = bytes(piece[whole:])


def _width_of(dtype: str) -> int:
    return 1 if dtype in _SINGLE_NAN else _FORMATS[dtype].unsigned.itemsize


def _verify_block(tensor: TensorRange, block: NDArray[np.uint8], start: int) -> None:
    """Check whole numbers, the first of which begins at byte `start` of the tensor."""
    if tensor.dtype in _SINGLE_NAN:
        code = _SINGLE_NAN[tensor.dtype]
        if (block == code).any():
            raise _not_finite(tensor, start + int((block == code).argmax()))
        return
    form = _FORMATS[tensor.dtype]
    if not block.view(form.unsigned).flags.aligned:
        block = block.copy()  # numpy is slow on numbers that are not aligned
    unsigned, signed = block.view(form.unsigned), block.view(form.signed)
    if unsigned.max() < form.negative and signed.max() < form.positive:
        return
    is_bad = (unsigned >= form.negative) | (signed >= form.positive)
    number = start // form.unsigned.itemsize + int(is_bad.argmax())
    raise _not_finite(tensor, number // form.per_element)


def _not_finite(tensor: TensorRange, index: int) -> InvalidInput:
    position = []
    rest = index
    for length in reversed(tensor.shape):
        rest, coordinate = divmod(rest, length)
        position.append(coordinate)
    position.reverse()
    return InvalidInput(
        "tensor-not-finite",
        f"The tensor {tensor.name!r:.200} holds a NaN or an infinity, first at element {index} "
        f"(position {position}): did the training diverge? Push it anyway only on purpose.",
        tensor=tensor.name,
        index=index,
        position=position,
    )
