"""The largest elements of deltas, as PEFT's `magnitude_prune_svd`.

    D = sum_i w_i T_i,   T_i = D_i where |D_i| is among the int(density * n) largest, else 0

Each tensor is trimmed by itself, before weights count.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.peft_elements import MAGNITUDE_PRUNE, combine_deltas


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    return combine_deltas(deltas, weights, options, MAGNITUDE_PRUNE)
