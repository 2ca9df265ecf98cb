"""What a composition gives: encoded tensors, one module at a time, and figures about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from plait.algebra.delta import Matrix, ModuleKind, Placement
from plait.algebra.module_report import ModuleReport
from plait.algebra.rounding import encode

_FACTORS = {
    ModuleKind.LINEAR: ("lora_A.weight", "lora_B.weight"),
    ModuleKind.CONV: ("lora_A.weight", "lora_B.weight"),
    ModuleKind.EMBEDDING: ("lora_embedding_A", "lora_embedding_B"),
}
PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class EncodedTensor:
    """A tensor as it is written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedModule:
    """The outcome for one module."""

    module: str
    tensors: tuple[EncodedTensor, ...]
    """Sorted by name."""
    placement: Placement | None = None
    """None where there are whole tensors alone."""
    rank: int = 0
    report: ModuleReport | None = None


def encode_factors(
    module: str, factors: tuple[Matrix, Matrix], placement: Placement, dtype: str
) -> tuple[EncodedTensor, EncodedTensor]:
    """Return B (out, r) and A (r, in) as PEFT names, shapes and orders them: A first.

    Raises:
        InvalidInput: `tensor-not-finite`, a value is beyond the dtype.
    """
    B, A = factors
    rank = A.shape[0]
    shapes: Mapping[str, tuple[int, ...]] = {"A": A.shape, "B": B.shape}
    if placement.kind is ModuleKind.CONV:
        kernel = placement.kernel
        size = 1
        for length in kernel:
            size *= length
        shapes = {
            "A": (rank, A.shape[1] // size, *kernel),
            "B": (B.shape[0], rank, *(1 for _ in kernel)),
        }
    name_a, name_b = (f"{PEFT_PREFIX}{module}.{part}" for part in _FACTORS[placement.kind])
    return (
        EncodedTensor(name_a, dtype, shapes["A"], encode(A, dtype, name=f"A of {module}")),
        EncodedTensor(name_b, dtype, shapes["B"], encode(B, dtype, name=f"B of {module}")),
    )


def encode_bias(module: str, bias: Matrix, dtype: str) -> EncodedTensor:
    """Return what is added to a module's bias, (out,), as PEFT names it; raises as above."""
    name = f"{PEFT_PREFIX}{module}.lora_B.bias"
    return EncodedTensor(name, dtype, bias.shape, encode(bias, dtype, name=f"The bias of {module}"))
