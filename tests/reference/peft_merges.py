"""What PEFT makes of small models and of real ones, to compare the families of adapters with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plait.adapter_folder import open_adapter
from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import FunctionOfBase, LowRank, Matrix, ModuleChange
from plait.algebra.dense_delta import multiply_out
from plait.algebra.families import read_changes
from plait.algebra.families.resolve import orient, resolve

Weights = Mapping[str, Any]


def weights_of(model: Any) -> dict[str, Any]:
    """Return copies of a model's weights, in float64."""
    return {
        name: tensor.detach().double().clone().numpy()
        for name, tensor in model.state_dict().items()
    }


def adapt(
    base: Any, config: Any, folder: Path, *, dtype: Any = None
) -> tuple[AdapterTensors, Weights, Weights]:
    """Return an adapter of random numbers as PEFT saves it, and the weights before and after."""
    import torch
    from peft import get_peft_model

    before = weights_of(base)
    model = get_peft_model(base, config).eval().to(dtype)
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    model.save_pretrained(folder)
    return open_adapter("team/small", folder), before, weights_of(model.merge_and_unload())


def largest_error(adapter: AdapterTensors, before: Weights, after: Weights) -> float:
    """Return how far the weights are from PEFT's at most, against the size of what it changed.

    A weight or bias that PEFT changed and no module accounts for counts as wrong.
    """
    changes = read_changes(adapter)
    expected = dict(before)
    for module, change in changes.items():
        for part, name in change.replacements.items():
            expected[f"{module}.{part}"] = adapter.read(name)
        if change.delta is not None:
            expected[f"{module}.weight"] = changed_weight(adapter, change, before)
        bias = before.get(f"{module}.bias")
        scale = change.delta.apply_to_bias if isinstance(change.delta, FunctionOfBase) else None
        if bias is not None and scale is not None:
            expected[f"{module}.bias"] = scale(bias)
    moved = {name: size(after[name] - before[name]) for name in before}
    assert any(moved.values())
    return max(size(after[name] - expected[name]) / (moved[name] or 1.0) for name in before)


def changed_weight(adapter: AdapterTensors, change: ModuleChange, before: Weights) -> Matrix:
    """Return a module's weight with the adapter's delta, as the base stores it."""
    weight = before[f"{change.module}.weight"]
    delta = resolve(adapter.label, change, lambda: weight)
    dense = multiply_out(delta) if isinstance(delta, LowRank) else delta.compute()
    changed = orient(weight, delta.placement) + dense
    stored = changed.T if delta.placement.is_transposed else changed
    return np.ascontiguousarray(stored).reshape(weight.shape)


def size(matrix: Matrix) -> float:
    """Return the Frobenius norm."""
    return float(np.sqrt((np.asarray(matrix, np.float64) ** 2).sum()))
