"""IA3: W' = W * l, the rows (the module's outputs) or the columns (its inputs) scaled.

"Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
https://arxiv.org/abs/2205.05638.

    ia3_l (out, 1)   scales the outputs, and with them the base's bias
    ia3_l (1, in)    scales the inputs: the module is one of `feedforward_modules`
    ia3_l (1, n, 1...)   of a convolution, n = out or in by `feedforward_modules`
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, FunctionOfBase, Matrix, ModuleKind, Placement
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import USUAL_RANK, ModuleTensors
from plait.model.module_pattern import matches_module


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch`, `tensor-not-finite`, or `feedforward_modules` is a regular
            expression that cannot be matched.
    """
    tensors = ModuleTensors(adapter, module, parts)
    scale = tensors.read("ia3_l", ndim=2, most=5)
    if scale.size != max(scale.shape):
        raise tensors.error(f"'ia3_l' has the shape {scale.shape}, which is not that of a vector")
    is_conv = scale.ndim > 2
    # (1, 1) and the vectors of convolutions look the same for inputs and outputs.
    is_input = scale.shape[1] > 1
    if is_conv or scale.size == 1:
        is_input = _is_feedforward(adapter, module)
    vector = scale.reshape(-1)
    return FunctionOfBase(
        apply=partial(
            _scale_inputs if is_input else _scale_outputs, vector=vector, tensors=tensors
        ),
        shape=(None, None if is_conv else vector.size) if is_input else (vector.size, None),
        rank=USUAL_RANK,
        placement=Placement(ModuleKind.CONV) if is_conv else tensors.placement,
        apply_to_bias=None if is_input else partial(_scale_bias, vector=vector, tensors=tensors),
    )


def _is_feedforward(adapter: AdapterTensors, module: str) -> bool:
    """Tell what PEFT does: a string is a regular expression, a list holds ends of names."""
    named = adapter.config.values.get("feedforward_modules") or []
    if isinstance(named, str):
        return matches_module(f"^(?:{named})", module)
    return any(isinstance(end, str) and module.endswith(end) for end in named)


def _scale_outputs(weight: Matrix, *, vector: Matrix, tensors: ModuleTensors) -> Matrix:
    if weight.shape[0] != vector.size:
        raise tensors.error(f"'ia3_l' scales {vector.size} outputs of a weight of {weight.shape}")
    scaled: Matrix = weight * vector.reshape(-1, *[1] * (weight.ndim - 1))
    return scaled


def _scale_inputs(weight: Matrix, *, vector: Matrix, tensors: ModuleTensors) -> Matrix:
    out, columns, *kernel = weight.shape
    groups = vector.size // columns
    # A group of a convolution's outputs sees its own share of the inputs.
    if groups * columns != vector.size or out % groups:
        raise tensors.error(f"'ia3_l' scales {vector.size} inputs of a weight of {weight.shape}")
    by_group = weight.reshape(groups, out // groups, columns, math.prod(kernel))
    scaled: Matrix = by_group * vector.reshape(groups, 1, columns, 1)
    return scaled.reshape(weight.shape)


def _scale_bias(bias: Matrix, *, vector: Matrix, tensors: ModuleTensors) -> Matrix:
    if bias.shape != vector.shape:
        raise tensors.error(f"'ia3_l' scales {vector.size} outputs, and the bias is {bias.shape}")
    return np.multiply(bias, vector)


FORM = Form(find_delta=find_delta, parts=frozenset({"ia3_l"}))
