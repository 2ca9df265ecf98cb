"""From what an adapter does to a module to a delta that needs nothing but itself.

What is a function of the base's weight W becomes the delta W' - W, dense or, where the family has
them, by thin factors; what only the base's shape tells becomes a delta of that shape. The weight
comes as the base stores it: this is the one place that turns it to the adapter's orientation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from plait.algebra.adapter_tensors import BaseTensors
from plait.algebra.arrays import FloatArray
from plait.algebra.delta import (
    DeltaOfShape,
    Dense,
    FunctionOfBase,
    LowRank,
    Matrix,
    ModuleChange,
    ModuleKind,
    NoDelta,
    Placement,
)
from plait.algebra.families.reading import place
from plait.errors import InvalidInput


def resolve(
    label: str, change: ModuleChange, weight: Callable[[], FloatArray] | None
) -> LowRank | Dense:
    """Return the delta of a module of the adapter that is called `label`.

    `weight` returns the module's weight as the base stores it, in any float dtype; None where there
    is no base at hand. It is called here, and again by a `Dense` when that is computed.

    Raises:
        InvalidInput: `delta-missing`, there is no delta, or none without the base;
            `shape-mismatch` and `tensor-not-finite`, of the base's weight.
    """
    delta = change.delta
    if isinstance(delta, LowRank | Dense):
        return delta
    where = place(label, change.module)
    if delta is None or isinstance(delta, NoDelta):
        reason = "it is saved whole" if delta is None else delta.reason
        raise _missing(change, f"{where}, has no delta: {reason}. Leave it out.")
    if weight is None:
        raise _missing(
            change,
            f"What {where}, does depends on the base's weight: name the folder of the base model.",
        )
    base = _Base(where, change.module, weight)
    if isinstance(delta, DeltaOfShape):
        return delta.given(_matrix_shape(base.read().shape, delta.placement))
    return _resolve_function(delta, base)


def resolve_bias(change: ModuleChange, base: BaseTensors | None) -> Matrix | None:
    """Return what is added to the base's bias, (out,); None where nothing is.

    Without a base, a family that rescales the base's bias is taken to leave it alone.
    """
    delta = change.delta
    if base is None or not isinstance(delta, FunctionOfBase) or delta.apply_to_bias is None:
        return change.bias
    if not base.has_bias(change.module):
        return change.bias
    bias = base.read(f"{change.module}.bias").astype(np.float64)
    moved: Matrix = delta.apply_to_bias(bias) - bias
    return moved


def orient(weight: FloatArray, placement: Placement) -> Matrix:
    """Return a weight of the base, as it is stored, in the adapter's orientation (out, in)."""
    matrix = np.asarray(weight, np.float64).reshape(weight.shape[0], -1)
    return np.ascontiguousarray(matrix.T) if placement.is_transposed else matrix


class _Base:
    """The base's weight of one module."""

    def __init__(self, where: str, module: str, weight: Callable[[], FloatArray]) -> None:
        self.where = where
        self.module = module
        self._weight = weight

    def read(self) -> FloatArray:
        """Return it as it is stored; raises as `resolve` does."""
        weight = self._weight()
        if weight.ndim < 2:
            raise self.mismatch(f"is {weight.shape}, which is no matrix")
        if not np.isfinite(weight).all():
            raise InvalidInput(
                "tensor-not-finite",
                f"The base's weight of {self.module} holds a NaN or an infinity.",
                module=self.module,
            )
        return weight

    def mismatch(self, what: str) -> InvalidInput:
        """Return the error that the base's weight `what`."""
        return InvalidInput(
            "shape-mismatch",
            f"{self.where}, does not fit the base, whose weight {what}: name the folder of the "
            "model that it was trained on.",
            module=self.module,
        )


def _resolve_function(delta: FunctionOfBase, base: _Base) -> LowRank | Dense:
    stored = base.read()
    shape = _matrix_shape(stored.shape, delta.placement)
    if any(side not in (None, actual) for side, actual in zip(delta.shape, shape, strict=True)):
        raise base.mismatch(f"is {stored.shape}; its delta is {delta.shape}")
    placement = delta.placement
    if stored.ndim > 2:
        placement = replace(placement, kind=ModuleKind.CONV, kernel=stored.shape[2:])
    if delta.find_factors is not None:
        factors = delta.find_factors(orient(stored, delta.placement))
        return replace(factors, placement=placement)
    return Dense(
        compute=lambda: _difference(delta, base.read()),
        shape=shape,
        rank=delta.rank,
        placement=placement,
    )


def _difference(delta: FunctionOfBase, stored: FloatArray) -> Matrix:
    """Return W' - W (out, in), of a convolution (out, in * k...)."""
    is_conv = stored.ndim > 2
    weight = np.asarray(stored, np.float64) if is_conv else orient(stored, delta.placement)
    return (delta.apply(weight) - weight).reshape(weight.shape[0], -1)


def _matrix_shape(stored: tuple[int, ...], placement: Placement) -> tuple[int, int]:
    """Return the shape of a stored weight in the adapter's orientation."""
    rest = math.prod(stored[1:])
    return (rest, stored[0]) if placement.is_transposed else (stored[0], rest)


def _missing(change: ModuleChange, message: str) -> InvalidInput:
    return InvalidInput("delta-missing", message, module=change.module)
