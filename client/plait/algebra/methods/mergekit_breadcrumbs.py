"""Model Breadcrumbs as mergekit's `breadcrumbs`.

    T_i = D_i without the int(gamma * n) largest elements by magnitude, and of the others without
          the smallest, so that int(density * n) are left
    D   = scale * sum_i w_i T_i

Outliers are taken off before density counts, so all three parts are of the whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import add_task_vectors, trim_both_ends
from plait.algebra.methods.options import ElementwiseOptions, Stack


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    kept = [trim_both_ends(delta, options) for delta in deltas]
    return add_task_vectors(kept, weights, options).reshape(deltas.shape[1:])
