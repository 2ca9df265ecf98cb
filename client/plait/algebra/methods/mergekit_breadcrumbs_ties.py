"""Model Breadcrumbs, then an election of signs, as mergekit's `breadcrumbs_ties`.

    T_i = D_i without the int(gamma * n) largest elements by magnitude, and of the others without
          the smallest, so that int(density * n) are left
    e   = +1 where sum_i w_i T_i >= 0, else -1
    D   = scale * (sum of w_i T_i over i with sign(w_i T_i) = e)

It does not normalise unless it is told to.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import merge_task_vectors, trim_both_ends
from plait.algebra.methods.options import ElementwiseOptions, Stack


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    kept = [trim_both_ends(delta, options) for delta in deltas]
    return merge_task_vectors(kept, weights, options).reshape(deltas.shape[1:])
