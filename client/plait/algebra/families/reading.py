"""Reading the tensors of a module, with errors that name the adapter, the module and the tensor."""

from __future__ import annotations

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.arrays import FloatArray
from plait.algebra.delta import Matrix
from plait.errors import InvalidInput

WHOLE_MODEL = "the whole model"


def read_tensor(adapter: AdapterTensors, module: str, name: str) -> FloatArray:
    """Return a tensor's values as they were saved, all of them finite.

    Raises:
        InvalidInput: `tensor-not-finite`, or its dtype cannot be computed with.
    """
    values = adapter.read(name)
    if not np.isfinite(values).all():
        raise InvalidInput(
            "tensor-not-finite",
            f"The tensor {name!r:.200} of {place(adapter.label, module)} holds a NaN or an "
            "infinity: take a version from before the training diverged.",
            input=adapter.label,
            module=module,
            tensor=name,
        )
    return values


def read_double(adapter: AdapterTensors, module: str, name: str) -> Matrix:
    """Return a tensor's values in double precision, exactly; raises as `read_tensor` does."""
    return np.asarray(read_tensor(adapter, module, name), np.float64)


def shape_error(adapter: AdapterTensors, module: str, what: str) -> InvalidInput:
    """Return the error that a module's tensors do not fit together: `its factors are ...`."""
    return InvalidInput(
        "shape-mismatch",
        f"In {place(adapter.label, module)}, {what}: its weights and its adapter_config.json do "
        "not belong together.",
        input=adapter.label,
        module=module,
    )


def place(label: str, module: str) -> str:
    """Return how messages name one module of an adapter."""
    return f"{label}, module {module or WHOLE_MODEL}"
