"""DARE of all A and of all B, each on its own, as PEFT's `dare_linear`.

With X_i for A_i, c_i = sign(s_i) sqrt|s_i|, and then for B_i, c_i = sqrt|s_i|; s_i = w_i gamma_i:

    X = sum_i c_i (m_i X_i / density),   m_i = 1 with the probability density, else 0
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.methods.options import ElementwiseOptions
from plait.algebra.methods.peft_elements import DARE_LINEAR
from plait.algebra.methods.peft_factors import combine_sides


def combine_factors(
    inputs: Sequence[LowRank], weights: Sequence[float], options: ElementwiseOptions
) -> tuple[Matrix, Matrix]:
    """Return B (out, r) and A (r, in); raises as `combine_sides` does."""
    return combine_sides(inputs, weights, options, DARE_LINEAR)
