"""DELLA as mergekit's `della`: rescaled to the L1 norm, then an election of signs.

    p   = (density - epsilon) + 2 epsilon r / (c - 1),   r = 0 .. c-1 the rank of |D_i| in its row
    T_i = m_i D_i ||D_i||_1 / ||m_i D_i||_1,   m_i = 1 with the probability p, else 0
    e   = +1 where sum_i w_i T_i >= 0, else -1
    D   = scale * (sum of w_i T_i over i with sign(w_i T_i) = e) / (the sum of their w_i)

The last division is `normalize`. Rows are as of `mergekit_della_linear`.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import drop_by_rank, merge_task_vectors
from plait.algebra.methods.options import ElementwiseOptions, Stack


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in).

    Raises:
        InvalidInput: `invalid-recipe`, density and epsilon give no probabilities.
    """
    kept = [drop_by_rank(delta, options, stream) for stream, delta in enumerate(deltas)]
    return merge_task_vectors(kept, weights, options).reshape(deltas.shape[1:])
