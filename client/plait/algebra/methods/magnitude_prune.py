"""Keep the largest elements of each delta, add.

    D = sum of w_i m_i * D_i,   m_i: the density * n largest magnitudes of the tensor

The trimming of TIES-Merging, https://arxiv.org/abs/2306.01708, section 4.1, then task arithmetic.
Nothing is rescaled.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.merging import add
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.sparsifying import trim


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    return add(deltas.shape, trim(deltas, weights, options.density))
