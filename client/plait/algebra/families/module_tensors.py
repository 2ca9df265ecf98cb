"""The tensors of one module, read by part in double precision, their dimensions checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Matrix, ModuleKind, Placement
from plait.algebra.families.form import Parts
from plait.algebra.families.reading import read_double, shape_error
from plait.errors import InvalidInput

USUAL_RANK = 8
"""What PEFT gives a LoRA by default: for families without a rank of their own."""


@dataclass(frozen=True, slots=True)
class ModuleTensors:
    """What an adapter stores for a module, or for the model as a whole."""

    adapter: AdapterTensors
    module: str
    parts: Parts

    def read(self, part: str, *, ndim: int, most: int | None = None) -> Matrix:
        """Return a part's values in float64: of `ndim` dimensions, or of up to `most`.

        Raises:
            InvalidInput: `shape-mismatch`, there is no such part or it has other dimensions, or
                whatever `read_double` finds.
        """
        name = self.parts.get(part)
        if name is None:
            raise self.error(f"there is no tensor {part!r}")
        values = read_double(self.adapter, self.module, name)
        if not ndim <= values.ndim <= (most or ndim) or 0 in values.shape:
            raise self.error(f"{part!r} has the shape {values.shape} and not {ndim} dimensions")
        return values

    def read_indices(self, part: str, *, ndim: int, below: int) -> NDArray[np.int64]:
        """Return a part's values as whole numbers from zero to `below`, which is not among them.

        Raises as `read` does.
        """
        values = self.read(part, ndim=ndim)
        indices = values.astype(np.int64)
        if (indices != values).any() or indices.min() < 0 or indices.max() >= below:
            raise self.error(f"{part!r} holds something else than whole numbers below {below}")
        return indices

    def error(self, what: str) -> InvalidInput:
        """Return the error that the tensors do not fit together: `its factors have ...`."""
        return shape_error(self.adapter, self.module, what)

    @property
    def placement(self) -> Placement:
        """That of a linear module, by the adapter's configuration."""
        return Placement(ModuleKind.LINEAR, fan_in_fan_out=self.adapter.config.fan_in_fan_out)


def is_embedding(parts: Parts, stem: str) -> bool:
    """Tell whether the parts are an embedding's, as `lora_embedding_A` for the stem `lora`."""
    return any(part.startswith(f"{stem}_embedding_") for part in parts)
