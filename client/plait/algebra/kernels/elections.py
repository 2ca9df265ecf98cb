"""Passes over blocks of deltas: drop elements, weight the others, elect signs, add or average.

Every element is computed by itself, with the inputs in their order, so that neither the size of a
block nor the number of threads shows in the bits. A block is one stretch of the flat elements of
all inputs that fits the processor's cache: what is dropped and weighted there is never written to
memory. See `plait.algebra.methods.sparsifying` and `.merging` for the definitions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Vector = NDArray[np.float64]
Rows = NDArray[np.float64]

_LANES = 512
"""Elements that are elected together: three accumulators of these stay in the nearest cache."""


class Band(NamedTuple):
    """Which elements are kept: all from the `least` magnitude up to, and without, the `limit`.

    An element that is exactly at a border is above it where its flat index is at most `*_last`,
    and below it otherwise.
    """

    least: float
    above_least: float
    """The next number above it."""
    least_last: int
    limit: float
    above_limit: float
    limit_last: int


@kernel
def count_from(x: Vector, threshold: float) -> tuple[int, int]:
    """Return how many magnitudes are above the threshold, and how many equal to it."""
    above, equal = 0, 0
    for value in x:
        magnitude = abs(value)
        above += magnitude > threshold
        equal += magnitude == threshold
    return above, equal


@kernel
def find_equal(x: Vector, threshold: float, number: int) -> int:
    """Return the index of the `number`-th element, counted from 1, of this magnitude."""
    found = 0
    for index in range(x.size):
        found += abs(x[index]) == threshold
        if found == number:
            return index
    return x.size


@kernel
def keep_band(x: Vector, start: int, band: Band, weight: float, out: Vector) -> None:
    """Write weight * x where the band keeps it, else 0; `start` is the flat index of x[0]."""
    for i in range(x.size):
        magnitude = abs(x[i])
        least = band.least if start + i <= band.least_last else band.above_least
        limit = band.limit if start + i <= band.limit_last else band.above_limit
        out[i] = weight * x[i] if (magnitude >= least) & (magnitude < limit) else 0.0


@kernel
def keep_drawn(x: Vector, numbers: Vector, density: float, factor: float, out: Vector) -> None:
    """Write factor * x where the element's random number is below the density, else 0."""
    for i in range(x.size):
        out[i] = factor * x[i] if numbers[i] < density else 0.0


@kernel
def keep_ranked(
    x: Rows, order: NDArray[np.int64], numbers: Rows, densities: Vector, factors: Vector, out: Rows
) -> None:
    """Write factor * x where the random number is below the density, by rank within each row.

    `order` has, for each row, the columns from the largest magnitude on (rows, columns).
    """
    for row in range(x.shape[0]):
        for rank in range(x.shape[1]):
            column = order[row, rank]
            kept = numbers[row, column] < densities[rank]
            out[row, column] = factors[rank] * x[row, column] if kept else 0.0


@kernel
def add_values(values: Rows, out: Vector) -> None:
    """Write ((v_1 + v_2) + v_3) + ...; values are (k, n)."""
    for start in range(0, out.size, _LANES):
        piece = out[start : start + _LANES]
        piece[:] = values[0, start : start + _LANES]
        for i in range(1, values.shape[0]):
            row = values[i, start : start + _LANES]
            for j in range(piece.size):
                piece[j] += row[j]


@kernel
def elect_and_average(
    values: Rows,
    magnitudes: Vector,
    scale: float,
    is_by_number: bool,  # noqa: FBT001 - kernels take no keywords
    out: Vector,
) -> None:
    """Write scale * (sum of the values with the elected sign / sum of their magnitudes).

    `values` are (k, n), `magnitudes` the absolute weights (k,). The elected sign is that of the sum
    of the values, or of the number of positive less that of negative ones; where it is zero, and
    where no magnitude is left, 0 is written.
    """
    votes, totals, divisors = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
    # One function with plain loops: split into several, they are not vectorised once inlined.
    for start in range(0, out.size, _LANES):
        size = min(_LANES, out.size - start)
        for j in range(size):
            votes[j], totals[j], divisors[j] = 0.0, 0.0, 0.0
        for i in range(values.shape[0]):
            row = values[i, start : start + size]
            if is_by_number:
                for j in range(size):
                    positive = 1.0 if row[j] > 0.0 else 0.0
                    votes[j] += positive - (1.0 if row[j] < 0.0 else 0.0)
            else:
                for j in range(size):
                    votes[j] += row[j]
        for i in range(values.shape[0]):
            row = values[i, start : start + size]
            magnitude = magnitudes[i]
            for j in range(size):
                v, s = row[j], votes[j]
                # No short circuits: which way they go is random.
                agrees = ((v > 0.0) & (s > 0.0)) | ((v < 0.0) & (s < 0.0))
                totals[j] += v if agrees else 0.0
                divisors[j] += magnitude if agrees else 0.0
        piece = out[start : start + size]
        for j in range(size):
            # Where the divisor is zero the total is, too.
            divisor = divisors[j] if divisors[j] > 0.0 else 1.0
            piece[j] = scale * (totals[j] / divisor)
