r"""What is dropped from each delta before deltas are merged, and how the rest is weighted.

Each function here makes a `Sparsify` for a stack of deltas D (k, out, in) with weights w: for input
i it gives

    trim       v = w D  where D is among the density * n largest magnitudes of its tensor
    cut_band   v = w D  there, too, but the gamma * n largest are passed over and not counted
    draw       v = (w / p) D  with probability p = density                                 (DARE)
    draw_by_rank  v = (w / p_r) D  with probability p_r, by the rank r within the row      (DELLA)

and 0 elsewhere. n is the number of elements of the tensor; numbers of elements are rounded to the
nearest whole number, and at least one is kept. Of equal magnitudes, the one with the lower flat
index counts as the larger. A density of 1 keeps everything, and draws no random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import Matrix
from plait.algebra.kernels.elections import (
    Band,
    count_from,
    find_equal,
    keep_band,
    keep_drawn,
    keep_ranked,
)
from plait.algebra.kernels.ranking import order_by_magnitude
from plait.algebra.kernels.selection import kth_largest_magnitude
from plait.algebra.methods.options import Stack, Uniforms
from plait.errors import InvalidInput

Sparsify: TypeAlias = Callable[[int, int, Matrix], None]
"""`sparsify(input, row, out)`: write the values of rows row, row + 1, ... into out (rows, in)."""

_EVERYTHING = Band(0.0, 0.0, 0, math.inf, math.inf, 0)
_SLACK = 1e-9
"""By how much shares that are meant to add up to 1 may miss it in floating point."""


def trim(deltas: Stack, weights: Sequence[float], density: float) -> Sparsify:
    """Keep the largest magnitudes of each tensor: TIES, https://arxiv.org/abs/2306.01708, 4.1."""
    return cut_band(deltas, weights, density, gamma=0.0)


def cut_band(deltas: Stack, weights: Sequence[float], density: float, *, gamma: float) -> Sparsify:
    """Keep what is neither among the largest nor among the smallest magnitudes of each tensor.

    Model Breadcrumbs, https://arxiv.org/abs/2312.06795, section 3: gamma is the part of the largest
    that is dropped, and 1 - density - gamma that of the smallest (the paper's beta).

    Raises:
        InvalidInput: `invalid-recipe`, density and gamma are above 1 together.
    """
    if density < 1.0 and density + gamma > 1.0 + _SLACK:
        raise InvalidInput(
            "invalid-recipe",
            f"A density of {density} and a gamma of {gamma} are more than the whole: lower one of "
            "them, so that they add up to 1 at most.",
            parameters=["density", "gamma"],
        )
    bands = [_find_band(delta.reshape(-1), density, gamma) for delta in deltas]

    def sparsify(index: int, row: int, out: Matrix) -> None:
        start = row * out.shape[1]
        x = deltas[index].reshape(-1)[start : start + out.size]
        keep_band(x, start, bands[index], weights[index], out.reshape(-1))

    return sparsify


def draw(
    deltas: Stack, weights: Sequence[float], density: float, *, uniforms: Uniforms
) -> Sparsify:
    """Keep each element with the same probability: DARE, https://arxiv.org/abs/2311.03099, eq. 3.

    Input i draws from stream i, element by element in flat order.
    """
    if density >= 1.0:
        return trim(deltas, weights, 1.0)
    factors = [weight / density for weight in weights]

    def sparsify(index: int, row: int, out: Matrix) -> None:
        start = row * out.shape[1]
        x = deltas[index].reshape(-1)[start : start + out.size]
        numbers = uniforms(index, start, out.size)
        keep_drawn(x, numbers, density, factors[index], out.reshape(-1))

    return sparsify


def draw_by_rank(
    deltas: Stack,
    weights: Sequence[float],
    density: float,
    *,
    epsilon: float,
    uniforms: Uniforms,
) -> Sparsify:
    """Keep large elements of a row more probably: MAGPRUNE, https://arxiv.org/abs/2406.11617, 3.1.

    Rank 0 is the largest magnitude of a row of m elements:

        p_r = (density + epsilon) - 2 epsilon r / (m - 1),   p_0 = density where m = 1

    The paper's epsilon is the whole width, 2 epsilon here; as in its authors' program, the ranks
    are spread so that the mean of the probabilities is the density. Input i draws from stream i.

    Raises:
        InvalidInput: `invalid-recipe`, a probability would be zero, or above 1.
    """
    if density >= 1.0:
        return trim(deltas, weights, 1.0)
    if not (density - epsilon > 0.0 and density + epsilon <= 1.0 + _SLACK):
        raise InvalidInput(
            "invalid-recipe",
            f"With a density of {density} and an epsilon of {epsilon}, probabilities go from "
            f"{density - epsilon:.6g} to {density + epsilon:.6g}: lower epsilon, so that they stay "
            "above 0 and at most 1.",
            parameters=["density", "epsilon"],
        )
    densities = _spread(density, epsilon, deltas.shape[2])
    factors = [weight / densities for weight in weights]

    def sparsify(index: int, row: int, out: Matrix) -> None:
        x = deltas[index, row : row + out.shape[0]]  # (rows, in)
        numbers = uniforms(index, row * out.shape[1], out.size).reshape(out.shape)
        keep_ranked(x, order_by_magnitude(x), numbers, densities, factors[index], out)

    return sparsify


def _spread(density: float, epsilon: float, columns: int) -> NDArray[np.float64]:
    """Return the probability of each rank (columns,)."""
    if columns == 1:
        return np.array([density])
    ranks = np.arange(columns, dtype=np.float64)
    return (density + epsilon) - (2.0 * epsilon * ranks) / (columns - 1.0)


def _find_band(x: NDArray[np.float64], density: float, gamma: float) -> Band:
    """Return the band of one tensor's flat elements."""
    if density >= 1.0 or x.size == 0:
        return _EVERYTHING
    kept = max(1, _count(density, x.size))
    passed_over = min(_count(gamma, x.size), x.size - kept)
    least, least_last = _find_border(x, kept + passed_over)
    limit, limit_last = (math.inf, 0) if passed_over == 0 else _find_border(x, passed_over)
    return Band(
        least,
        math.nextafter(least, math.inf),
        least_last,
        limit,
        math.nextafter(limit, math.inf),
        limit_last,
    )


def _count(share: float, size: int) -> int:
    return min(size, math.floor(share * size + 0.5))


def _find_border(x: NDArray[np.float64], count: int) -> tuple[float, int]:
    """Return the `count`-th largest magnitude and the flat index of the last such that counts."""
    threshold = kth_largest_magnitude(x, count)
    above, equal = count_from(x, threshold)
    if above + equal == count:
        return threshold, x.size
    return threshold, find_equal(x, threshold, count - above)
