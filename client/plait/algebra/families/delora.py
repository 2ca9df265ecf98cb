"""DeLoRA: D = B diag(lambda / (r |a_k| |b_k|)) A diag(w), every rank-one term of the same length.

"Decoupling Angles and Strength in Low-rank Adaptation", https://arxiv.org/abs/2503.18225.

    delora_A (r, in)   delora_B (out, r)   delora_lambda (1,)
    delora_w_norm (in,)   the lengths of the base weight's columns when training began

a_k and b_k are rows of A and columns of B; a length below 1e-4 counts as that.
"""

from __future__ import annotations

import math

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, LowRank, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors
from plait.algebra.kernels.products import multiply

_SHORTEST = 1e-4  # peft/tuners/delora/layer.py: clamp(min=1e-4)


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    tensors = ModuleTensors(adapter, module, parts)
    A, B = tensors.read("delora_A", ndim=2), tensors.read("delora_B", ndim=2)
    strength, widths = tensors.read("delora_lambda", ndim=1), tensors.read("delora_w_norm", ndim=1)
    rank = A.shape[0]
    if (B.shape[1], strength.size, widths.size) != (rank, 1, A.shape[1]):
        raise tensors.error(
            f"its factors of {B.shape} and {A.shape} do not belong to {widths.size} columns"
        )
    scale = strength[0] / rank / (_lengths(A) * _lengths(B.T))  # (r,)
    return LowRank(B=B, A=scale[:, None] * A * widths, gamma=1.0, placement=tensors.placement)


def _lengths(rows: Matrix) -> Matrix:
    squares = (multiply(row.reshape(1, -1), row.reshape(-1, 1))[0, 0] for row in rows)
    return np.array([max(math.sqrt(square), _SHORTEST) for square in squares])


FORM = Form(
    find_delta=find_delta,
    parts=frozenset({"delora_A", "delora_B", "delora_lambda", "delora_w_norm"}),
)
