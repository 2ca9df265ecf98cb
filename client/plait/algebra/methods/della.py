"""Drop small elements more probably, rescale the others, elect signs, average what agrees.

DELLA-Merging, https://arxiv.org/abs/2406.11617, section 3: MAGPRUNE by the ranks within each row of
a matrix, `sparsifying.draw_by_rank`; then the signs are elected and what agrees is averaged,
`merging.elect`; `scale` is the paper's lambda. A row is what leads to one output; a bias is one.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.merging import elect
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.sparsifying import draw_by_rank


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in).

    Raises:
        InvalidInput: `invalid-recipe`, density and epsilon do not fit each other.
    """
    kept = draw_by_rank(
        deltas,
        weights,
        options.density,
        epsilon=options.number("epsilon"),
        uniforms=options.uniforms,
    )
    return elect(
        deltas.shape,
        kept,
        weights,
        majority=options.choice("majority"),
        scale=options.number("scale"),
    )
