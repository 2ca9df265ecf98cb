"""Drop the smallest and the very largest elements, add.

    D = sum of w_i m_i * D_i,   m_i: without the largest gamma * n and the smallest
                                     (1 - density - gamma) * n magnitudes of the tensor

Model Breadcrumbs, https://arxiv.org/abs/2312.06795, section 3. The paper's alpha is in the weights.
With a density of 1 nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.merging import add
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.sparsifying import cut_band


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in).

    Raises:
        InvalidInput: `invalid-recipe`, density and gamma do not fit each other.
    """
    kept = cut_band(deltas, weights, options.density, gamma=options.number("gamma"))
    return add(deltas.shape, kept)
