"""Factors side by side, as PEFT's `cat`: exact, and the ranks add up.

    A = [s_1 A_1; s_2 A_2; ...],   B = [B_1, B_2, ...],   s_i = w_i gamma_i

The delta of plait's `concat`, with the scale where PEFT puts it. A single input gets roots of its
scale on both sides, since PEFT takes it for `linear`. PEFT also fills every module with zeros up to
the sum of the inputs' largest ranks, which changes no delta: here each module has its own rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.methods.options import ElementwiseOptions
from plait.algebra.methods.peft_elements import LINEAR
from plait.algebra.methods.peft_factors import combine_sides


def combine_factors(
    inputs: Sequence[LowRank], weights: Sequence[float], options: ElementwiseOptions
) -> tuple[Matrix, Matrix]:
    """Return B (out, R) and A (R, in)."""
    if len(inputs) == 1:
        return combine_sides(inputs, weights, options, LINEAR)
    scales = [weight * factors.gamma for factors, weight in zip(inputs, weights, strict=True)]
    A = np.concatenate(
        [factors.A.astype(np.float64) * s for factors, s in zip(inputs, scales, strict=True)]
    )
    B = np.concatenate([factors.B.astype(np.float64) for factors in inputs], axis=1)
    return B, A
