"""Trim, elect signs, average what agrees.

(1) of each input, the density * n largest magnitudes of a tensor stay: `sparsifying.trim`;
(2) at each element the sign is elected, and what has it is averaged: `merging.elect`.

TIES-Merging, https://arxiv.org/abs/2306.01708, section 4 and algorithm 1. The paper trims the whole
model as one vector, here each tensor is trimmed by itself, as in PEFT and mergekit: the memory is
that of one module. `scale` is the paper's lambda.

The outcome is a mean, not a sum: two adapters that change different elements keep their full
strength, two that agree do not add up, and the weights of an input that is alone at an element make
no difference there but by their sign.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.delta import Matrix
from plait.algebra.methods.merging import elect
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.algebra.methods.sparsifying import trim


def combine(deltas: Stack, weights: Sequence[float], options: ElementwiseOptions) -> Matrix:
    """Return the outcome (out, in) of deltas (k, out, in)."""
    return elect(
        deltas.shape,
        trim(deltas, weights, options.density),
        weights,
        majority=options.choice("majority"),
        scale=options.number("scale"),
    )
