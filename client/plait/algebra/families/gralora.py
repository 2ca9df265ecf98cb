"""GraLoRA: a low-rank product of its own for each of k x k blocks of D.

"GraLoRA: Granular Low-Rank Adaptation for Parameter-Efficient Fine-Tuning",
https://arxiv.org/abs/2505.20355; the exact form is PEFT's.

    gralora_A (k, in / k, r)   gralora_B (k, r, out / k)
    gralora_A_general.weight (h, in)   gralora_B_general.weight (out, h)   with `hybrid_r` = h

The block in row m and column n is gamma B[m, N]^T A[n, :, M]^T, where M and N are the m-th and n-th
run of r / k ranks; a hybrid adds gamma B_general A_general. gamma = alpha / (r + h).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, Dense, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors
from plait.algebra.kernels.products import multiply
from plait.model.adapter_fields import ConfigFields

_ALPHA = 64.0
_GENERAL = ("gralora_A_general.weight", "gralora_B_general.weight")


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`, or the configuration is wrong.
    """
    tensors = ModuleTensors(adapter, module, parts)
    A, B = tensors.read("gralora_A", ndim=3), tensors.read("gralora_B", ndim=3)
    count, columns, rank = A.shape
    if B.shape[:2] != (count, rank) or rank % count:
        raise tensors.error(f"its factors of {B.shape} and {A.shape} are not those of blocks")
    shape = (count * B.shape[2], count * columns)
    general = [tensors.read(part, ndim=2) for part in _GENERAL if part in parts]
    hybrid = general[0].shape[0] if general else 0
    if general and [matrix.shape for matrix in general] != [(hybrid, shape[1]), (shape[0], hybrid)]:
        raise tensors.error(f"its general factors do not fit a delta of {shape}")
    gamma = ConfigFields(adapter.config.values).number("alpha", _ALPHA) / (rank + hybrid)
    return Dense(
        compute=partial(_multiply_blocks, A, B, general, gamma=gamma),
        shape=shape,
        rank=rank + hybrid,
        placement=tensors.placement,
    )


def _multiply_blocks(A: Matrix, B: Matrix, general: list[Matrix], *, gamma: float) -> Matrix:
    count, columns, rank = A.shape
    rows, run = B.shape[2], rank // count
    delta = np.empty((count * rows, count * columns))
    for m in range(count):
        for n in range(count):
            block = multiply(
                B[m, n * run : (n + 1) * run].T, A[n, :, m * run : (m + 1) * run].T
            )  # (out / k, in / k)
            delta[m * rows : (m + 1) * rows, n * columns : (n + 1) * columns] = block
    if general:
        delta += multiply(general[1], general[0])
    delta *= gamma
    return delta


FORM = Form(find_delta=find_delta, parts=frozenset({"gralora_A", "gralora_B", *_GENERAL}))
