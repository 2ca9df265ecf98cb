"""What mergekit does to task vectors (mergekit/sparsify.py, generalized_task_arithmetic.py).

mergekit works on whole weights W + D_i and begins and ends with the base's W, so its outcome is
W + D with a D that depends on the D_i alone: that D is what these functions give. An input that
does not adapt a module counts as a D_i of zeros, as it does there.

Where mergekit's methods differ from the papers' and from PEFT's:

- Weights come first: signs are elected from w_i D_i, by their sum; exactly zero elects plus.
- `normalize` divides by the sum of the weights; after an election, by the sum of the weights of
  those that agree, element by element. A divisor of zero counts as 1.
- `rescale` multiplies each task vector by one number, so that pruning does not change its L1 norm:
  not by 1 / density, as DARE's paper does, nor by each element's 1 / p, as DELLA's.
- Trimming keeps at least one element. Outliers are cut less where density needs them.
- A density of 1 keeps everything, outliers too, and draws no mask.

With weights of both signs that cancel, mergekit divides by whatever rounding left of the sum. Here
what is below 1e-8 counts as zero in every case, as mergekit has it where there is no election.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from plait.algebra.delta import Matrix
from plait.algebra.kernels.ranking import order_by_magnitude
from plait.algebra.kernels.selection import keep_largest
from plait.algebra.methods.masked import (
    Masked,
    blocks,
    flat,
    keep_all,
    keep_at_random,
    keep_largest_part,
    sum_of_magnitudes,
    sum_weighted,
)
from plait.algebra.methods.options import ElementwiseOptions
from plait.errors import InvalidInput

NO_DIVISOR = 1e-8
"""Below this a sum of weights counts as zero."""
_NO_NORM = 1e-7
"""Below this an L1 norm is not restored (sparsify.py: eps)."""
_ROWS = 64
"""That are ranked at a time."""


def trim(delta: Matrix, options: ElementwiseOptions) -> Masked:
    """Keep the largest elements of a task vector (out, in)."""
    density = options.density
    if density >= 1:
        return keep_all(delta)
    return _rescale(keep_largest_part(delta, max(1, int(density * delta.size))), options)


def trim_both_ends(delta: Matrix, options: ElementwiseOptions) -> Masked:
    """Drop the part gamma of the largest elements, then the smallest, until density is left."""
    density = options.density
    if density >= 1:
        return keep_all(delta)
    values = flat(delta)
    target, outliers = int(density * values.size), int(options.number("gamma") * values.size)
    smallest = max(0, values.size - target - outliers)
    not_smallest = keep_largest(values, values.size - smallest)
    largest = keep_largest(values, values.size - smallest - target)
    return _rescale(Masked(values=values, mask=not_smallest & ~largest), options)


def drop(delta: Matrix, options: ElementwiseOptions, stream: int) -> Masked:
    """Keep each element with the probability density."""
    density = options.density
    if density >= 1:
        return keep_all(delta)
    return _rescale(keep_at_random(delta, density, options.uniforms, stream), options)


def drop_by_rank(delta: Matrix, options: ElementwiseOptions, stream: int) -> Masked:
    """Keep an element the more probably the larger it is among its row of the stored weight.

    Raises:
        InvalidInput: `invalid-recipe`, density and epsilon give no probabilities.
    """
    density = options.density
    if density >= 1:
        return keep_all(delta)
    epsilon = options.number("epsilon")
    if density - epsilon <= 0 or density + epsilon >= 1:
        raise InvalidInput(
            "invalid-recipe",
            f"Probabilities spread from density - epsilon to density + epsilon, {density} -+ "
            f"{epsilon}, which must lie inside (0, 1): choose a smaller epsilon.",
            density=density,
            epsilon=epsilon,
        )
    rows = delta.T if options.is_transposed else delta
    chances = (density - epsilon) + _rank_in_rows(rows) * 2 * epsilon
    probability = flat(chances.T if options.is_transposed else chances)
    return _rescale(keep_at_random(delta, probability, options.uniforms, stream), options)


def add_task_vectors(
    kept: Sequence[Masked], weights: Sequence[float], options: ElementwiseOptions
) -> Matrix:
    """Return the weighted sum (n,), normalised and scaled as the options say."""
    outcome = sum_weighted(kept, weights)
    if options.flag("normalize"):
        outcome /= sum_of_weights(weights)
    return _scale(outcome, options)


def merge_task_vectors(
    kept: Sequence[Masked], weights: Sequence[float], options: ElementwiseOptions
) -> Matrix:
    """Return the weighted sum of those that have the elected sign (n,), normalised and scaled."""
    outcome = np.empty(kept[0].values.size)
    for part in blocks(outcome.size):
        values = [tensor.read(part) * weight for tensor, weight in zip(kept, weights, strict=True)]
        ballot = values[0].copy()
        for value in values[1:]:
            ballot += value
        elected = np.where(ballot >= 0, 1.0, -1.0)
        total, divisor = np.zeros(elected.size), np.zeros(elected.size)
        for value, weight in zip(values, weights, strict=True):
            agrees = np.sign(value) == elected
            total += np.where(agrees, value, 0.0)
            divisor += np.where(agrees, weight, 0.0)
        if options.flag("normalize"):
            total /= np.where(np.abs(divisor) < NO_DIVISOR, 1.0, divisor)
        outcome[part] = total
    return _scale(outcome, options)


def sum_of_weights(weights: Sequence[float]) -> float:
    """Return what `normalize` divides by: the sum, or 1 where the weights cancel."""
    total = math.fsum(weights)
    return 1.0 if abs(total) < NO_DIVISOR else total


def verify_equal(weights: Sequence[float], method: str) -> None:
    """Check that a method which has no weights in mergekit got none here either.

    Raises:
        InvalidInput: `invalid-recipe`.
    """
    if len(set(weights)) > 1:
        raise InvalidInput(
            "invalid-recipe",
            f"The method {method} has no weights, and the inputs' differ: {list(weights)}. Give "
            "every input the same, or choose another method.",
            weights=list(weights),
        )


def _rank_in_rows(rows: Matrix) -> Matrix:
    """Return each magnitude's rank in its row, from 0 for the least to 1 for the largest."""
    length = rows.shape[1]
    if length == 1:
        return np.full(rows.shape, 0.5)  # neither the least nor the largest of its row
    shares = np.empty(rows.shape)
    places = np.arange(length - 1, -1, -1) / (length - 1)
    for start in range(0, rows.shape[0], _ROWS):
        order = order_by_magnitude(np.ascontiguousarray(rows[start : start + _ROWS]))
        of_columns = np.broadcast_to(places, order.shape)
        np.put_along_axis(shares[start : start + _ROWS], order, of_columns, axis=1)
    return shares


def _rescale(kept: Masked, options: ElementwiseOptions) -> Masked:
    if not options.flag("rescale"):
        return kept
    before, after = sum_of_magnitudes(keep_all(kept.values)), sum_of_magnitudes(kept)
    if before < _NO_NORM or after < _NO_NORM:
        return kept
    return replace(kept, factor=before / after)


def _scale(outcome: Matrix, options: ElementwiseOptions) -> Matrix:
    scale = options.number("scale")
    return outcome if scale == 1 else outcome * scale
