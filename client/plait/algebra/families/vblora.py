"""VB-LoRA: D = B A, both put together from a bank of vectors that all modules share.

"VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks",
https://arxiv.org/abs/2405.15179.

    vblora_logits_A (r, in / b, h)   vblora_logits_B (out / b, r, h)   of the module
    vblora_vector_bank (h, b)   of the model

Each stretch of b numbers is a mean of the bank's vectors with the k highest logits, weighted by
their softmax; of equal logits, the first ones count. With `save_only_topk_weights` there are, in
place of each tensor of logits, `..._topk_indices` (., ., k) and `..._topk_weights` (., ., k - 1),
of which the last weight is what is missing to 1.

Exponentials are those of Python's decimal arithmetic, which rounds them correctly everywhere.
"""

from __future__ import annotations

from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, LowRank, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors
from plait.model.adapter_fields import ConfigFields

_BANK = "vblora_vector_bank"
_SIDES = ("vblora_logits_A", "vblora_logits_B")
_INDICES = "_topk_indices"
_WEIGHTS = "_topk_weights"
_TOP = 2
_DIGITS = Context(prec=40)


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, shared: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`, or the configuration is wrong.
    """
    tensors = ModuleTensors(adapter, module, parts)
    bank = ModuleTensors(adapter, module, shared).read(_BANK, ndim=2)
    rows, columns = (_mix(tensors, side, bank) for side in _SIDES)
    if rows.shape[0] != columns.shape[1]:
        raise tensors.error(f"its logits have the ranks {rows.shape[0]} and {columns.shape[1]}")
    A = rows.reshape(rows.shape[0], -1)  # (r, in)
    B = columns.transpose(0, 2, 1).reshape(-1, A.shape[0])  # (out, r)
    return LowRank(B=np.ascontiguousarray(B), A=A, gamma=1.0, placement=tensors.placement)


def _mix(tensors: ModuleTensors, side: str, bank: Matrix) -> Matrix:
    """Return the vectors that the logits of a side stand for, (., ., b)."""
    if side + _INDICES in tensors.parts:
        indices, weights = _read_chosen(tensors, side, len(bank))
    else:
        indices, weights = _choose(tensors, side, len(bank))
    mixed = np.zeros((*indices.shape[:2], bank.shape[1]))
    for k in range(indices.shape[2]):
        mixed += weights[..., k, None] * bank[indices[..., k]]
    return mixed


def _read_chosen(
    tensors: ModuleTensors, side: str, vectors: int
) -> tuple[NDArray[np.int64], Matrix]:
    indices = tensors.read_indices(side + _INDICES, ndim=3, below=vectors)
    if indices.shape[2] == 1:  # its one weight is 1, and a tensor without elements was saved
        return indices, np.ones(indices.shape)
    known = tensors.read(side + _WEIGHTS, ndim=3)
    if (*known.shape[:2], known.shape[2] + 1) != indices.shape:
        raise tensors.error(f"it has weights of {known.shape} for indices of {indices.shape}")
    last = np.ones(known.shape[:2])
    for k in range(known.shape[2]):
        last -= known[..., k]
    return indices, np.concatenate([known, last[..., None]], axis=2)


def _choose(tensors: ModuleTensors, side: str, vectors: int) -> tuple[NDArray[np.int64], Matrix]:
    logits = tensors.read(side, ndim=3)
    top = ConfigFields(tensors.adapter.config.values).count("topk", _TOP)
    if logits.shape[2] != vectors or top > vectors:
        raise tensors.error(
            f"{side!r} of {logits.shape} is not for the {top} best of {vectors} vectors"
        )
    indices = np.argsort(-logits, axis=2, kind="stable")[..., :top]
    best = np.take_along_axis(logits, indices, axis=2)
    powers = _exponentials(best - best[..., :1])
    total = np.zeros(powers.shape[:2])
    for k in range(top):
        total += powers[..., k]
    weights: Matrix = powers / total[..., None]
    return indices, weights


def _exponentials(values: Matrix) -> Matrix:
    powers = [float(_DIGITS.exp(Decimal(value))) for value in values.reshape(-1).tolist()]
    return np.array(powers).reshape(values.shape)


FORM = Form(
    find_delta=find_delta,
    parts=frozenset(side + end for side in _SIDES for end in ("", _INDICES, _WEIGHTS)),
    shared=frozenset({_BANK}),
)
