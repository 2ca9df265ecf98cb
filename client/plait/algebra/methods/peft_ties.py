"""TIES-Merging of all A and of all B, each on its own, as PEFT's `ties`.

With X_i for A_i, c_i = sign(s_i) sqrt|s_i|, and then for B_i, c_i = sqrt|s_i|; s_i = w_i gamma_i:

    T_i = X_i where |X_i| is among the int(density * n) largest, else 0
    e   = +1 where sum_i T_i >= 0, else -1          (majority total; frequency: sum_i sign(T_i))
    X   = sum of c_i T_i over i with sign(T_i) = e, divided by the number of those, at least 1
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.methods.options import ElementwiseOptions
from plait.algebra.methods.peft_elements import TIES
from plait.algebra.methods.peft_factors import combine_sides


def combine_factors(
    inputs: Sequence[LowRank], weights: Sequence[float], options: ElementwiseOptions
) -> tuple[Matrix, Matrix]:
    """Return B (out, r) and A (r, in); raises as `combine_sides` does."""
    return combine_sides(inputs, weights, options, TIES)
