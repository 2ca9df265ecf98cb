"""Select, calculate, erase as mergekit's `sce`.

    S   = the int(density * v) elements that vary most between the inputs, of v that vary at all;
          T_i = D_i there, else 0;  density is mergekit's select_topk
    w_i = the mean of T_i^2, as a share of their sum over i; all 1/k where that sum is below 1e-6
    e   = +1 where sum_i T_i >= 0, else -1
    D   = (sum of w_i T_i over i with sign(T_i) = e) / max(1e-6, the sum of their w_i)

It has no weights of its own. Adapters' deltas are so small that the sum is often below 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from plait.algebra.delta import Matrix
from plait.algebra.kernels.selection import keep_largest
from plait.algebra.methods.masked import Mask, Masked, blocks, flat, sum_by_lanes
from plait.algebra.methods.mergekit_elements import verify_equal
from plait.algebra.methods.options import ElementwiseOptions, Stack

_NO_SQUARES = 1e-6
_LEAST_DIVISOR = 1e-6


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in).

    Raises:
        InvalidInput: `invalid-recipe`, the weights differ.
    """
    verify_equal(weights, "mergekit_sce")
    parts = [flat(delta) for delta in deltas]
    selected = None if options.density >= 1 else _select(parts, options.density)
    kept = [Masked(values=part, mask=selected) for part in parts]
    energies = [sum_by_lanes(partial(_squares, tensor), tensor.values.size) for tensor in kept]
    shares = _shares([energy / parts[0].size for energy in energies])
    outcome = np.empty(parts[0].size)
    for part in blocks(outcome.size):
        values = [tensor.read(part) for tensor in kept]
        ballot = values[0].copy()
        for value in values[1:]:
            ballot += value
        elected = np.where(ballot >= 0, 1.0, -1.0)
        total, divisor = np.zeros(elected.size), np.zeros(elected.size)
        for value, share in zip(values, shares, strict=True):
            agrees = np.sign(value) == elected
            total += np.where(agrees, value * share, 0.0)
            divisor += np.where(agrees, share, 0.0)
        outcome[part] = total / np.maximum(divisor, _LEAST_DIVISOR)
    return outcome.reshape(deltas.shape[1:])


def _select(parts: Sequence[Matrix], density: float) -> Mask:
    """Return where the variance between the inputs is largest (n,)."""
    variances = np.empty(parts[0].size)
    for block in blocks(variances.size):
        mean, square = np.zeros(variances[block].size), np.zeros(variances[block].size)
        for part in parts:
            mean += part[block]
        mean /= len(parts)
        for part in parts:
            square += (part[block] - mean) * (part[block] - mean)
        variances[block] = square / len(parts)
    return keep_largest(variances, int(int(np.count_nonzero(variances)) * density))


def _squares(tensor: Masked, part: slice) -> Matrix:
    values = tensor.read(part)
    return values * values


def _shares(means: Sequence[float]) -> list[float]:
    total = math.fsum(means)
    if total < _NO_SQUARES:
        return [1.0 / len(means)] * len(means)
    return [mean / total for mean in means]
