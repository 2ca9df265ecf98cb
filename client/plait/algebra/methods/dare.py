"""Drop elements at random, rescale the others, add.

    D = sum of w_i m_i * D_i / p,   m_i independent, 1 with probability p = density

DARE, https://arxiv.org/abs/2311.03099, section 3.1, then task arithmetic. The expected value of the
outcome is the weighted sum; what is gained is that inputs meet at few elements.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.merging import add
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.sparsifying import draw


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    kept = draw(deltas, weights, options.density, uniforms=options.uniforms)
    return add(deltas.shape, kept)
