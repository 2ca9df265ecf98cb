"""DARE as mergekit's `dare_linear`: rescaled to the L1 norm, not by 1 / density.

    T_i = m_i D_i ||D_i||_1 / ||m_i D_i||_1,   m_i = 1 with the probability density, else 0
    D   = scale * sum_i w_i T_i

The factor is one number for a whole tensor; it is left out where a norm is below 1e-7.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.mergekit_elements import add_task_vectors, drop
from plait.algebra.methods.options import ElementwiseOptions, Stack


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    kept = [drop(delta, options, stream) for stream, delta in enumerate(deltas)]
    return add_task_vectors(kept, weights, options).reshape(deltas.shape[1:])
