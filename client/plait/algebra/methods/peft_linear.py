"""The sum of factors weighted by roots, as PEFT's `linear`; far from the sum of deltas.

    A = sum_i sign(s_i) sqrt|s_i| A_i,   B = sum_i sqrt|s_i| B_i,   s_i = w_i gamma_i

All inputs must have one rank. `plait.algebra.methods.peft_factors` tells what comes of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.methods.options import ElementwiseOptions
from plait.algebra.methods.peft_elements import LINEAR
from plait.algebra.methods.peft_factors import combine_sides


def combine_factors(
    inputs: Sequence[LowRank], weights: Sequence[float], options: ElementwiseOptions
) -> tuple[Matrix, Matrix]:
    """Return B (out, r) and A (r, in); raises as `combine_sides` does."""
    return combine_sides(inputs, weights, options, LINEAR)
