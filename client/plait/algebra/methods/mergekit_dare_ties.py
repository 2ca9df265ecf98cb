"""DARE, rescaled to the L1 norm, then an election of signs, as mergekit's `dare_ties`.

    T_i = m_i D_i ||D_i||_1 / ||m_i D_i||_1,   m_i = 1 with the probability density, else 0
    e   = +1 where sum_i w_i T_i >= 0, else -1
    D   = scale * (sum of w_i T_i over i with sign(w_i T_i) = e)

Unlike `mergekit_ties` it does not normalise unless it is told to.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import drop, merge_task_vectors
from plait.algebra.methods.options import ElementwiseOptions, Stack


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    kept = [drop(delta, options, stream) for stream, delta in enumerate(deltas)]
    return merge_task_vectors(kept, weights, options).reshape(deltas.shape[1:])
