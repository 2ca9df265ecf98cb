"""Norms computed from the factors, against the deltas that real PEFT modules multiply out."""

from typing import Any

import numpy as np
import pytest

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta_change import compare_deltas
from reference.adapters import adapter_of

pytestmark = pytest.mark.torch

TARGETS = ["linear", "conv", "pointwise", "embed"]


def adapted_by_peft(config: Any) -> Any:
    import torch
    from peft import get_peft_model
    from torch import nn

    torch.manual_seed(5)
    base = nn.ModuleDict(
        {
            "linear": nn.Linear(24, 16),
            "conv": nn.Conv2d(4, 8, 3),
            "pointwise": nn.Conv2d(6, 10, 1),
            "embed": nn.Embedding(30, 16),
        }
    )
    model = get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    return model


def source_of(model: Any) -> AdapterTensors:
    from peft import get_peft_model_state_dict

    tensors = {name: tensor.numpy() for name, tensor in get_peft_model_state_dict(model).items()}
    values = model.peft_config["default"].to_dict()
    values["target_modules"] = sorted(values["target_modules"])
    return adapter_of(tensors, **values)


def norms_by_peft(model: Any) -> dict[str, float]:
    return {
        name.removeprefix("base_model.model."): float(
            np.linalg.norm(module.get_delta_weight("default").detach().double().numpy())
        )
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"rank_pattern": {"linear": 6}, "lora_alpha": 3}]
)
def test_deltas_of_lora_have_the_norms_that_peft_gives_them(options: dict[str, Any]) -> None:
    from peft import LoraConfig

    model = adapted_by_peft(LoraConfig(**{"r": 4, "target_modules": TARGETS, **options}))
    adapter = source_of(model)
    found = {change.name: change.old_norm for change in compare_deltas(adapter, adapter).modules}
    assert found == pytest.approx(norms_by_peft(model), rel=1e-6)
    assert len(found) == 4


def test_deltas_of_adalora_have_the_norms_that_peft_gives_them() -> None:
    from peft import AdaLoraConfig

    model = adapted_by_peft(
        AdaLoraConfig(init_r=6, target_r=4, total_step=10, target_modules=["linear"])
    )
    adapter = source_of(model)
    found = {change.name: change.old_norm for change in compare_deltas(adapter, adapter).modules}
    assert found == pytest.approx(norms_by_peft(model), rel=1e-6)
    assert len(found) == 1
