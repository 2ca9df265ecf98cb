"""Drop elements at random and rescale the others, then elect signs and average what agrees.

DARE, https://arxiv.org/abs/2311.03099, section 3.1, in place of the trimming of TIES-Merging,
https://arxiv.org/abs/2306.01708: `sparsifying.draw`, then `merging.elect`.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.merging import elect
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.sparsifying import draw


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    return elect(
        deltas.shape,
        draw(deltas, weights, options.density, uniforms=options.uniforms),
        weights,
        majority=options.choice("majority"),
        scale=options.number("scale"),
    )
