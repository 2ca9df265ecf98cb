"""Tensors of which a mask keeps some elements, read in blocks so that no masked copy is held.

A block fits into a processor's second cache together with its temporaries, which is what makes
several passes of numpy over it cheap. Every operation is one of IEEE 754 on single elements, or a
sum in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import Matrix
from plait.algebra.kernels.selection import keep_largest
from plait.algebra.methods.options import Uniforms

BLOCK = 32_768
"""Elements."""
_LANES = 4_096
"""Partial sums: a divisor of BLOCK, and a power of two, since they are folded in halves."""

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """factor * (values where the mask is True, 0 elsewhere)."""

    values: Matrix
    """Of any shape; (n,) in the order of rows."""
    mask: Mask | None = None
    """(n,); None keeps everything."""
    factor: float = 1.0

    def read(self, part: slice) -> Matrix:
        """Return the elements of one block, which are the caller's own only where a mask is."""
        block = self.values[part]
        if self.mask is not None:
            block = np.where(self.mask[part], block, 0.0)
        return block if self.factor == 1 else block * self.factor


def flat(tensor: NDArray[np.floating]) -> Matrix:
    """Return a tensor's elements in float64 in the order of rows: a view where that is possible."""
    return np.ascontiguousarray(tensor, np.float64).reshape(-1)


def blocks(size: int) -> Iterator[slice]:
    """Return the blocks of a tensor of `size` elements."""
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))


def keep_all(tensor: NDArray[np.floating]) -> Masked:
    """Return all of a tensor."""
    return Masked(values=flat(tensor))


def keep_largest_part(tensor: NDArray[np.floating], keep: int) -> Masked:
    """Return the `keep` elements of largest magnitude; among equal ones the first."""
    values = flat(tensor)
    return Masked(values=values, mask=keep_largest(values, keep))


def keep_at_random(
    tensor: NDArray[np.floating], probability: float | Matrix, uniforms: Uniforms, stream: int
) -> Masked:
    """Return each element with its probability: one number for all, or (n,)."""
    values = flat(tensor)
    chances = np.broadcast_to(np.asarray(probability), values.shape)
    mask = np.empty(values.size, np.bool_)
    for part in blocks(values.size):
        numbers = uniforms(stream, part.start, part.stop - part.start)
        mask[part] = numbers < chances[part]
    return Masked(values=values, mask=mask)


def sum_weighted(tensors: Sequence[Masked], weights: Sequence[float]) -> Matrix:
    """Return w_1 X_1 + w_2 X_2 + ... (n,), added in the order of the inputs."""
    outcome = np.zeros(tensors[0].values.size)
    for part in blocks(outcome.size):
        for tensor, weight in zip(tensors, weights, strict=True):
            outcome[part] += tensor.read(part) * weight
    return outcome


def sum_of_magnitudes(tensor: Masked) -> float:
    """Return the L1 norm, in the order of `sum_by_lanes`."""
    return sum_by_lanes(lambda part: np.abs(tensor.read(part)), tensor.values.size)


def sum_by_lanes(read: Callable[[slice], Matrix], size: int) -> float:
    """Return the sum of all elements that `read` gives, block by block.

    Element i is added to lane i modulo 4,096, in the order of i; the lanes are folded in halves.
    """
    lanes = np.zeros(_LANES)
    for part in blocks(size):
        block = read(part)
        for start in range(0, block.size, _LANES):
            piece = block[start : start + _LANES]
            lanes[: piece.size] += piece
    half = _LANES // 2
    while half:
        lanes[:half] += lanes[half : 2 * half]
        half //= 2
    return float(lanes[0])
