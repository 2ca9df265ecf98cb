"""An adapter as the algebra sees it: its configuration and its tensors, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from plait.algebra.arrays import FloatArray
from plait.errors import InvalidInput
from plait.model.adapter import AdapterConfig


@dataclass(frozen=True, slots=True)
class TensorKind:
    """What a tensor is made of."""

    dtype: str
    """As safetensors writes it."""
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterTensors:
    """One version of an adapter."""

    label: str
    """How messages name it, as `team/sql@3fa9c2d41b0e`."""
    config: AdapterConfig
    kinds: Mapping[str, TensorKind]
    """Of all its tensors, by name."""
    read: Callable[[str], FloatArray]
    """Returns a tensor's values: F64 in float64, all else in float32, which is exact for floats."""
    read_bytes: Callable[[str], bytes]
    """Returns a tensor's bytes as they were saved."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 of tensors' bytes, where they are known: equal ones need not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTensors:
    """The weights of a base model."""

    label: str
    kinds: Mapping[str, TensorKind]
    read: Callable[[str], FloatArray]

    def read_weight(self, module: str) -> FloatArray:
        """Return a module's weight as the base stores it; raises as `shape_of`."""
        self.shape_of(module)
        return self.read(f"{module}.weight")

    def shape_of(self, module: str) -> tuple[int, ...]:
        """Return the shape of a module's weight as the base stores it.

        Raises:
            InvalidInput: `base-mismatch`, the base has no such module.
        """
        kind = self.kinds.get(f"{module}.weight")
        if kind is None:
            raise InvalidInput(
                "base-mismatch",
                f"{self.label} has no tensor {module}.weight: is it the base of this adapter?",
                module=module,
            )
        return kind.shape

    def has_bias(self, module: str) -> bool:
        """Tell whether a module has a bias."""
        return f"{module}.bias" in self.kinds
