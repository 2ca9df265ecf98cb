"""Reading a pair of thin factors A and B, and what their shapes tell about the module."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import LowRank, ModuleKind, NoDelta, Placement
from plait.algebra.families.form import Parts
from plait.algebra.families.reading import place, read_double, read_tensor, shape_error
from plait.errors import InvalidInput
from plait.model.adapter_families import Effect


@dataclass(frozen=True, slots=True)
class Pair:
    """Under which names a family keeps its factors."""

    A: str
    B: str
    diagonal: str | None = None
    """Numbers between A and B, one for each rank, where the module has them."""
    kind: ModuleKind = ModuleKind.LINEAR
    """Of modules whose factors have these names and are matrices."""


def read_factors(
    adapter: AdapterTensors, module: str, parts: Parts, pairs: tuple[Pair, ...]
) -> LowRank | NoDelta:
    """Return gamma B A, or gamma B diag(d) A, of the first pair that a module has.

    d goes into A in double precision, which is exact for float32 and narrower.

    Raises:
        InvalidInput: `shape-mismatch`, the factors do not fit each other or the configured rank;
            as `read_tensor` does; or a pattern of the configuration cannot be matched.
    """
    pair = next((pair for pair in pairs if pair.A in parts and pair.B in parts), None)
    if pair is None:
        raise shape_error(adapter, module, "there is no pair of A and B factors")
    A, B = (read_tensor(adapter, module, parts[part]) for part in (pair.A, pair.B))
    if A.ndim < 2 or B.ndim != A.ndim:
        raise shape_error(
            adapter, module, f"its factors of shapes {B.shape} and {A.shape} have no product"
        )
    if B.ndim > 2 and B.shape[1] != A.shape[0] and A.shape[0] % B.shape[1] == 0:
        return NoDelta(
            Effect.LOW_RANK_DELTA,
            "it adapts a convolution in groups, whose factors have no common product",
        )
    rank = _verify_rank(adapter, module, A.shape, B.shape)
    matrix = A.reshape(rank, math.prod(A.shape[1:]))  # (r, in)
    if pair.diagonal is not None and pair.diagonal in parts:
        diagonal = read_double(adapter, module, parts[pair.diagonal])
        if diagonal.size != rank:
            raise shape_error(
                adapter, module, f"its diagonal has {diagonal.size} numbers and its rank is {rank}"
            )
        matrix = np.asarray(matrix, np.float64) * diagonal.reshape(rank, 1)
    kernel = A.shape[2:]
    is_linear = pair.kind is ModuleKind.LINEAR and not kernel
    return LowRank(
        B=B.reshape(B.shape[0], rank),  # (out, r)
        A=matrix,
        gamma=find_gamma(adapter, module),
        placement=Placement(
            kind=ModuleKind.CONV if kernel else pair.kind,
            fan_in_fan_out=is_linear and adapter.config.fan_in_fan_out,
            kernel=kernel,
        ),
    )


def find_gamma(adapter: AdapterTensors, module: str) -> float:
    """Return the factor of a module's delta; raises InvalidInput where a pattern is no pattern."""
    try:
        return adapter.config.gamma_of(module)
    except InvalidInput as error:
        raise InvalidInput(
            error.kind, f"{place(adapter.label, module)}: {error.message}", module=module
        ) from error


def _verify_rank(
    adapter: AdapterTensors, module: str, A: tuple[int, ...], B: tuple[int, ...]
) -> int:
    """Return the rank that both factors and the configuration have."""
    find_gamma(adapter, module)  # the same patterns, with an error that names the module
    rank = adapter.config.rank_of(module)
    if A[0] != math.prod(B[1:]):
        raise shape_error(adapter, module, f"its factors of shapes {B} and {A} have no product")
    if A[0] != rank:
        raise shape_error(
            adapter, module, f"its factors have rank {A[0]}, and the configuration says {rank}"
        )
    return rank
