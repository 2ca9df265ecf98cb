"""What PEFT does to the elements of tensors, be they deltas or factors (peft/utils/merge_utils.py).

Where PEFT's own methods differ from the papers' and from plait's:

- The part that is kept is `int(density * n)` elements of each tensor, and none may be left.
- TIES elects signs from values that are *not* weighted, and divides the sum of the weighted values
  that agree by their *number*. So it is no weighted sum even where every input agrees.
- A sum of exactly zero elects plus. Zeros agree with nobody, so they do not count.
- DARE divides by `density`, which keeps the expected value.
- A density of 1 keeps everything, and draws no mask.

PEFT draws masks from torch's global generator, which no argument seeds; here they come from the
recipe's seed. With equal masks the numbers are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import Matrix
from plait.algebra.methods.masked import (
    Masked,
    blocks,
    keep_all,
    keep_at_random,
    keep_largest_part,
    sum_weighted,
)
from plait.algebra.methods.options import ElementwiseOptions, Stack

Tensors: TypeAlias = Sequence[NDArray[np.floating]]
"""All of one shape, in the recipe's order."""


class Pruning(Enum):
    """Which elements of a tensor are kept."""

    NONE = auto()  # all
    MAGNITUDE = auto()  # the largest
    RANDOM = auto()  # by chance, and over density


@dataclass(frozen=True, slots=True)
class Operation:
    """What is done to a module's tensors."""

    pruning: Pruning
    elects: bool
    """Average those that have the elected sign; else add all."""


LINEAR = Operation(Pruning.NONE, elects=False)
MAGNITUDE_PRUNE = Operation(Pruning.MAGNITUDE, elects=False)
TIES = Operation(Pruning.MAGNITUDE, elects=True)
DARE_LINEAR = Operation(Pruning.RANDOM, elects=False)
DARE_TIES = Operation(Pruning.RANDOM, elects=True)


def combine_deltas(
    deltas: Stack, weights: Sequence[float], options: ElementwiseOptions, operation: Operation
) -> Matrix:
    """Return an operation's outcome (out, in) on deltas (k, out, in).

    One input is `LINEAR` in any case, as in PEFT: nothing is pruned.
    """
    chosen = LINEAR if len(deltas) == 1 else operation
    outcome = combine_tensors(list(deltas), weights, options, chosen, streams=range(len(deltas)))
    return outcome.reshape(deltas.shape[1:])


def combine_tensors(
    tensors: Tensors,
    weights: Sequence[float],
    options: ElementwiseOptions,
    operation: Operation,
    *,
    streams: Sequence[int],
) -> Matrix:
    """Return an operation's outcome (n,) on tensors of n elements, whose masks have `streams`."""
    kept = [
        _prune(tensor, operation.pruning, options, stream)
        for tensor, stream in zip(tensors, streams, strict=True)
    ]
    if operation.elects:
        return _average_agreeing(kept, weights, options.choice("majority"))
    return sum_weighted(kept, weights)


def _prune(
    tensor: NDArray[np.floating], pruning: Pruning, options: ElementwiseOptions, stream: int
) -> Masked:
    density = options.density
    if pruning is Pruning.NONE or density >= 1:
        return keep_all(tensor)
    if pruning is Pruning.MAGNITUDE:
        return keep_largest_part(tensor, int(density * tensor.size))
    kept = keep_at_random(tensor, density, options.uniforms, stream)
    return replace(kept, factor=1 / density)


def _average_agreeing(tensors: Sequence[Masked], weights: Sequence[float], majority: str) -> Matrix:
    """Elect a sign for each element, and average what has it (merge_utils.py, disjoint_merge)."""
    outcome = np.empty(tensors[0].values.size)
    for part in blocks(outcome.size):
        values = [tensor.read(part) for tensor in tensors]
        votes = values if majority == "total" else [np.sign(value) for value in values]
        ballot = votes[0].copy()
        for vote in votes[1:]:
            ballot += vote
        elected = np.where(ballot >= 0, 1.0, -1.0)
        total, count = np.zeros(elected.size), np.zeros(elected.size)
        for value, weight in zip(values, weights, strict=True):
            agrees = np.sign(value) == elected
            total += np.where(agrees, value * weight, 0.0)
            count += agrees
        outcome[part] = total / np.maximum(count, 1.0)
    return outcome
