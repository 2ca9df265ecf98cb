"""RandLoRA: D = (alpha / r) B A', of full rank, with random A and B that all modules share.

"RandLoRA: Full-rank parameter-efficient fine-tuning of large models",
https://arxiv.org/abs/2502.00987; the exact form is PEFT's.

    randlora_lambda (r, n)   randlora_gamma (n, small)   of the module, small = min(out, in)
    randlora_A (r, 1, widest small)   randlora_B (widest large, bases, r)   of the model; PEFT may
                                                                            repeat them by module

- Row (k, j) of A' is lambda[k, j] A[k] * gamma[j]; a module takes the first rows and columns that
  it needs of A and B, and the first n bases.
- PEFT counts the rows of A' by k first and the columns of B by j first, and multiplies them so.
- The product is (large, small), and transposed where out is the smaller side. The tensors do not
  tell which side that is.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, DeltaOfShape, Dense, Matrix, NoDelta
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors
from plait.algebra.kernels.products import multiply
from plait.model.adapter_families import Effect

_PROJECTIONS = frozenset({"randlora_A", "randlora_B"})


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, shared: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    projections = shared if shared.keys() >= _PROJECTIONS else parts
    if not projections.keys() >= _PROJECTIONS:
        return NoDelta(
            Effect.DENSE_DELTA,
            "the random projections were not saved with it (save_projection is off)",
        )
    own, common = ModuleTensors(adapter, module, parts), ModuleTensors(adapter, module, projections)
    scales, rest = own.read("randlora_lambda", ndim=2), own.read("randlora_gamma", ndim=2)
    A, B = common.read("randlora_A", ndim=3), common.read("randlora_B", ndim=3)
    (rank, bases), small = scales.shape, rest.shape[1]
    if (A.shape[0], B.shape[2], rest.shape[0]) != (rank, rank, bases) or (
        A.shape[1] != 1 or B.shape[1] < bases or A.shape[2] < small
    ):
        raise own.error(
            f"its scales {scales.shape} and {rest.shape} do not belong to projections of {B.shape} "
            f"and {A.shape}"
        )
    gamma = adapter.config.gamma_of(module)

    def give(shape: tuple[int, int]) -> Dense:
        if min(shape) != small or max(shape) > B.shape[0]:
            raise own.error(f"its scales {rest.shape} do not fit a weight of {shape}")
        return Dense(
            compute=partial(
                _sum_bases,
                B[: max(shape), :bases],  # (large, n, r)
                scales[:, :, None] * A[:, :, :small] * rest,  # (r, n, small)
                gamma=gamma,
                is_wide=shape[0] < shape[1],
            ),
            shape=shape,
            rank=rank,
            placement=own.placement,
        )

    return DeltaOfShape(given=give, rank=rank, placement=own.placement)


def _sum_bases(left: Matrix, right: Matrix, *, gamma: float, is_wide: bool) -> Matrix:
    large, small = left.shape[0], right.shape[2]
    delta = multiply(left.reshape(large, -1), right.reshape(-1, small))
    delta *= gamma
    return np.ascontiguousarray(delta.T) if is_wide else delta


FORM = Form(
    find_delta=find_delta,
    parts=frozenset({"randlora_lambda", "randlora_gamma"}) | _PROJECTIONS,
    shared=_PROJECTIONS,
)
