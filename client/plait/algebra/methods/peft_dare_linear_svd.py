"""DARE of deltas as PEFT's `dare_linear_svd`.

    D = sum_i w_i (m_i D_i / density),   m_i = 1 with the probability density, else 0

The outcome's expected value is the weighted sum.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.peft_elements import DARE_LINEAR, combine_deltas


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    return combine_deltas(deltas, weights, options, DARE_LINEAR)
