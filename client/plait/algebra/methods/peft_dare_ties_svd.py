"""DARE in place of trimming, then TIES, of deltas, as PEFT's `dare_ties_svd`.

As `peft_ties_svd`, with T_i = m_i D_i / density, and m_i = 1 with the probability density, else 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.peft_elements import DARE_TIES, combine_deltas


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    return combine_deltas(deltas, weights, options, DARE_TIES)
