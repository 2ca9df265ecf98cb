"""Adapters made of arrays, as the algebra reads them."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from plait.algebra.adapter_tensors import AdapterTensors, TensorKind
from plait.model.adapter import parse_adapter_config

LABEL = "team/adapter@0123456"


def adapter_of(tensors: Mapping[str, ArrayLike], **config: Any) -> AdapterTensors:
    """Return an adapter with the tensors, in float64 unless they are arrays of float32."""
    arrays = {
        name: np.asarray(values, getattr(values, "dtype", np.float64))
        for name, values in tensors.items()
    }
    names = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64"}
    return AdapterTensors(
        label=LABEL,
        config=parse_adapter_config(json.dumps(config).encode()),
        kinds={name: TensorKind(names[array.dtype], array.shape) for name, array in arrays.items()},
        read=arrays.__getitem__,
        read_bytes=lambda name: arrays[name].tobytes(),
    )
