"""HRA: W' = W H_1 H_2 ... H_r with Householder reflections H_i = I - 2 u_i u_i^T, |u_i| = 1.

"Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation",
https://arxiv.org/abs/2405.17484.

    hra_u (in, r)   its columns are the directions, of any length; (in * k * k, r) of a convolution

- `apply_GS`: the columns are first made orthonormal from left to right (Gram-Schmidt), so that
  W' = W (I - 2 U U^T).
- W' - W has rank r: with t_i = W H_1 ... H_(i-1) u_i it is the sum of -2 t_i u_i^T.
"""

from __future__ import annotations

import math
from functools import partial

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, FunctionOfBase, LowRank, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors
from plait.algebra.kernels.products import multiply


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch`, also for a direction without a length, or
            `tensor-not-finite`.
    """
    tensors = ModuleTensors(adapter, module, parts)
    stored = tensors.read("hra_u", ndim=2)
    orthogonalise = bool(adapter.config.values.get("apply_GS"))
    units = _find_units(stored, tensors, orthogonalise=orthogonalise)  # (r, in)
    reflect = partial(_reflect, units=units, tensors=tensors)

    def apply(weight: Matrix) -> Matrix:
        changed: Matrix = weight + multiply(reflect(weight), units).reshape(weight.shape)
        return changed

    def find_factors(weight: Matrix) -> LowRank:
        return LowRank(B=reflect(weight), A=units, gamma=1.0, placement=tensors.placement)

    return FunctionOfBase(
        apply=apply,
        shape=(None, stored.shape[0]),
        rank=stored.shape[1],
        placement=tensors.placement,
        find_factors=find_factors,
    )


def _find_units(stored: Matrix, tensors: ModuleTensors, *, orthogonalise: bool) -> Matrix:
    """Return the directions as rows of length one, (r, in)."""
    units = stored.T.copy()
    for index in range(len(units)):
        for earlier in units[:index] if orthogonalise else ():
            units[index] -= _dot(earlier, units[index]) * earlier
        length = math.sqrt(_dot(units[index], units[index]))
        if length == 0:
            raise tensors.error(f"column {index} of 'hra_u' has no direction")
        units[index] /= length
    return units


def _reflect(weight: Matrix, *, units: Matrix, tensors: ModuleTensors) -> Matrix:
    """Return B of W' - W = B U, (out, r)."""
    flat = weight.reshape(weight.shape[0], -1)
    if flat.shape[1] != units.shape[1]:
        raise tensors.error(
            f"'hra_u' reflects {units.shape[1]} inputs of a weight of {weight.shape}"
        )
    # t_i = W u_i + sum over j < i of b_j (u_j . u_i), where b_j = -2 t_j
    B = -2.0 * multiply(flat, units.T)  # (out, r)
    if not tensors.adapter.config.values.get("apply_GS"):
        angles = multiply(units, units.T)  # (r, r)
        for i in range(1, len(units)):
            for j in range(i):
                B[:, i] -= 2.0 * angles[j, i] * B[:, j]
    return B


def _dot(x: Matrix, y: Matrix) -> float:
    return float(multiply(x.reshape(1, -1), y.reshape(-1, 1))[0, 0])


FORM = Form(find_delta=find_delta, parts=frozenset({"hra_u"}))
