"""An adapter in another dtype: every float tensor rounded once, all else as it is."""

from __future__ import annotations

import numpy as np

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.module_report import ModuleReport
from plait.algebra.outcome import EncodedTensor
from plait.algebra.rounding import encode, round_to

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


def cast_tensor(
    adapter: AdapterTensors, name: str, dtype: str
) -> tuple[EncodedTensor, ModuleReport | None]:
    """Return a tensor in `dtype`, and how far its values moved; None where nothing is rounded.

    Raises:
        InvalidInput: `tensor-not-finite`, a value is beyond the dtype.
    """
    kind = adapter.kinds[name]
    if kind.dtype not in _FLOATS or kind.dtype == dtype:
        return EncodedTensor(name, kind.dtype, kind.shape, adapter.read_bytes(name)), None
    values = np.asarray(adapter.read(name), np.float64)
    data = encode(values, dtype, name=f"{name} of {adapter.label}")
    cast = EncodedTensor(name, dtype, kind.shape, data)
    norm = float(np.linalg.norm(values))
    moved = float(np.linalg.norm(round_to(values, dtype) - values))
    report = ModuleReport(
        module=name,
        weights=(1.0,),
        input_norms=(norm,),
        rank=0,
        norm=norm,
        kept=1.0,
        rounding=moved / norm if norm > 0.0 else 0.0,
        is_tied=False,
    )
    return cast, report
