"""DARE, then TIES, of all A and of all B, each on its own, as PEFT's `dare_ties`.

As `peft_ties`, with T_i = m_i X_i / density, and m_i = 1 with the probability density, else 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.methods.options import ElementwiseOptions
from plait.algebra.methods.peft_elements import DARE_TIES
from plait.algebra.methods.peft_factors import combine_sides


def combine_factors(
    inputs: Sequence[LowRank], weights: Sequence[float], options: ElementwiseOptions
) -> tuple[Matrix, Matrix]:
    """Return B (out, r) and A (r, in); raises as `combine_sides` does."""
    return combine_sides(inputs, weights, options, DARE_TIES)
