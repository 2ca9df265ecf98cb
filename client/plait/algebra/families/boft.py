"""BOFT: W' = diag(s) W (R_m ... R_2 R_1)^T, each R_i block-diagonal but for a butterfly's order.

"Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization",
https://arxiv.org/abs/2311.06243; the exact form is PEFT's.

    boft_R (m, blocks, b, b)   R_i = P_i diag(C_1, C_2, ...) P_i^T, C = (I - Q)(I + Q)^-1 with
                               Q = (X - X^T) / 2 of each stored block X
    boft_s (out, 1)            (1, out) of a convolution

P_1 is the identity. For i > 1, in runs of 2^(i - 1) blocks, P_i brings half blocks of even number
to the front. PEFT without its CUDA extension makes adapters of one factor (m = 1) only.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, FunctionOfBase, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors
from plait.algebra.families.rotations import map_by_cayley, rotate_inputs


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    tensors = ModuleTensors(adapter, module, parts)
    stored = tensors.read("boft_R", ndim=4)
    scale = tensors.read("boft_s", ndim=2)
    factors, blocks, size, other = stored.shape
    run = 2 ** (factors - 1)
    if size != other or scale.size != max(scale.shape):
        raise tensors.error(f"its rotations are {stored.shape} and its scale is {scale.shape}")
    if factors > 1 and (size % 2 or blocks % run):
        raise tensors.error(
            f"a butterfly of {factors} factors does not fit {blocks} blocks of {size}"
        )
    return FunctionOfBase(
        apply=partial(_rotate, stored=stored, scale=scale.reshape(-1), tensors=tensors),
        shape=(scale.size, blocks * size),
        rank=size,
        placement=tensors.placement,
    )


def _rotate(weight: Matrix, *, stored: Matrix, scale: Matrix, tensors: ModuleTensors) -> Matrix:
    _, blocks, size, _ = stored.shape
    rotated = weight.reshape(weight.shape[0], -1)  # (out, in * k...)
    if rotated.shape != (scale.size, blocks * size):
        raise tensors.error(
            f"its rotations are of ({scale.size}, {blocks * size}) and the weight is {weight.shape}"
        )
    for index, factor in enumerate(stored):
        order = _find_order(blocks * size, size=size, index=index)
        # W (P C P^T)^T = ((W P) C^T) P^T
        mixed = np.empty_like(rotated)
        mixed[:, order] = rotated
        skew = 0.5 * (factor - factor.transpose(0, 2, 1))
        rotated = rotate_inputs(mixed, map_by_cayley(skew))[:, order]
    scaled: Matrix = rotated * scale[:, None]
    return scaled.reshape(weight.shape)


def _find_order(width: int, *, size: int, index: int) -> NDArray[np.int64]:
    """Return P as the columns in which its ones stand: in each run, even halves, then odd ones."""
    if index == 0:
        return np.arange(width)
    run = size * 2**index
    halves = np.arange(run).reshape(-1, size // 2)
    inside = np.concatenate([halves[::2], halves[1::2]]).reshape(-1)
    order: NDArray[np.int64] = (np.arange(0, width, run)[:, None] + inside).reshape(-1)
    return order


FORM = Form(find_delta=find_delta, parts=frozenset({"boft_R", "boft_s"}))
