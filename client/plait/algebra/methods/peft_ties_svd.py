"""TIES-Merging of deltas as PEFT's `ties_svd`: signs are elected before weights count.

    T_i = D_i where |D_i| is among the int(density * n) largest, else 0
    e   = +1 where sum_i T_i >= 0, else -1          (majority total; frequency: sum_i sign(T_i))
    D   = sum of w_i T_i over i with sign(T_i) = e, divided by the number of those, at least 1

Weights are not normalised: two inputs that agree, of weight 1 each, give their mean, and of weight
1/2 each, half of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.peft_elements import TIES, combine_deltas


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    return combine_deltas(deltas, weights, options, TIES)
