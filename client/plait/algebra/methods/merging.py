"""How weighted, sparsified deltas become one: their sum, or the mean of those that agree in sign.

With v_i the values that `plait.algebra.methods.sparsifying` gives for input i at one element:

    add:    D = ((v_1 + v_2) + v_3) + ...

    elect:  s = sign(v_1 + v_2 + ...)                          majority "total"
            s = sign(number of v_i > 0 - number of v_i < 0)    majority "frequency"
            D = scale * (sum of v_i / sum of |w_i|)  over the inputs with sign(v_i) = s

as in TIES-Merging, https://arxiv.org/abs/2306.01708, sections 4.2 and 4.3, with weights: where all
are equal, the quotient is the plain mean of the paper. Weights multiply before the election, so a
larger weight has a larger say, and a negative one votes and counts for the other sign.

- Where s = 0 (nothing is left, or the votes are exactly balanced) D = 0, as in the paper's formula:
  no input is preferred.
- An input of which nothing is left at an element neither votes nor counts in the divisor.
- Values that are zero, or become it by underflow, count as nothing left.

Blocks of rows are taken one after the other, so that beside the deltas and the outcome no array
of their size is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from plait.algebra.delta import Matrix
from plait.algebra.kernels.elections import add_values, elect_and_average
from plait.algebra.methods.sparsifying import Sparsify

_BLOCK = 16384
"""Elements of one input in a block, in whole rows: 128 KiB, so that a few inputs fit the cache."""


def add(shape: tuple[int, int, int], sparsify: Sparsify) -> Matrix:
    """Return the sum of the values; `shape` is that of the deltas (k, out, in)."""
    return _merge(shape, sparsify, add_values)


def elect(
    shape: tuple[int, int, int],
    sparsify: Sparsify,
    weights: Sequence[float],
    *,
    majority: str,
    scale: float,
) -> Matrix:
    """Return the mean of the values that have the elected sign; `shape` as in `add`."""
    magnitudes = np.abs(np.array(weights, np.float64))
    is_by_number = majority == "frequency"

    def merge(values: Matrix, out: Matrix) -> None:
        elect_and_average(values, magnitudes, scale, is_by_number, out)

    return _merge(shape, sparsify, merge)


def _merge(
    shape: tuple[int, int, int], sparsify: Sparsify, merge: Callable[[Matrix, Matrix], None]
) -> Matrix:
    """Go through blocks of rows; `merge` takes values (k, n) and writes n elements."""
    inputs, rows, columns = shape
    outcome = np.empty((rows, columns))
    step = max(1, _BLOCK // max(1, columns))
    values = np.empty(inputs * step * columns)
    for row in range(0, rows, step):
        out = outcome[row : row + step]
        # Contiguous also where it is the last one, so that kernels are compiled for one layout.
        block = values[: inputs * out.size].reshape(inputs, *out.shape)
        for index in range(inputs):
            sparsify(index, row, block[index])
        merge(block.reshape(inputs, -1), out.reshape(-1))
    return outcome
