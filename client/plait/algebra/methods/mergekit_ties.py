"""TIES-Merging as mergekit's `ties`: weights first, then the election.

    T_i = D_i where |D_i| is among the max(1, int(density * n)) largest, else 0
    e   = +1 where sum_i w_i T_i >= 0, else -1
    D   = scale * (sum of w_i T_i over i with sign(w_i T_i) = e) / (the sum of their w_i)

The last division is `normalize`. So where all agree the outcome is their weighted mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import merge_task_vectors, trim
from plait.algebra.methods.options import ElementwiseOptions, Stack


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    kept = [trim(delta, options) for delta in deltas]
    return merge_task_vectors(kept, weights, options).reshape(deltas.shape[1:])
