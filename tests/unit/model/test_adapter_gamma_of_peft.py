"""The factors that real PEFT modules have, against those computed from their configuration."""

import json
from typing import Any

import pytest

from plait.model.adapter import parse_adapter_config

pytestmark = pytest.mark.torch


def scalings_by_peft(config: Any) -> dict[str, float]:
    from peft import get_peft_model
    from torch import nn

    blocks = [
        nn.ModuleDict(
            {
                "q_proj": nn.Linear(24, 16),
                "down_proj": nn.Linear(16, 24),
                "conv": nn.Conv2d(4, 8, 3),
            }
        )
        for _ in range(3)
    ]
    base = nn.ModuleDict({"layers": nn.ModuleList(blocks), "embed": nn.Embedding(10, 16)})
    model = get_peft_model(base, config)
    return {
        name.removeprefix("base_model.model."): module.scaling["default"]
        for name, module in model.named_modules()
        if hasattr(module, "scaling") and "default" in module.scaling
    }


@pytest.mark.parametrize("form", [{}, {"use_rslora": True}])
@pytest.mark.parametrize(
    ("rank_pattern", "alpha_pattern"),
    [
        ({}, {}),
        ({"down_proj": 5, "layers.0.q_proj": 3}, {"down_proj": 64}),
        ({r"layers\.[12]\..*": 7, "q_proj": 2}, {r"^layers.1.(q_proj|conv)$": 9, r"\d+.conv": 11}),
        ({"layers.1.q_proj": 6, ".*_proj": 2, "embed": 4}, {".+d": 3.5, "l.*": 2}),
    ],
)
def test_gamma_is_that_of_peft(
    form: dict[str, bool], rank_pattern: dict[str, int], alpha_pattern: dict[str, float]
) -> None:
    from peft import LoraConfig

    config = LoraConfig(
        r=8,
        lora_alpha=16,
        target_modules=["q_proj", "down_proj", "conv", "embed"],
        rank_pattern=rank_pattern,
        alpha_pattern=alpha_pattern,
        **form,
    )
    expected = scalings_by_peft(config)
    values = config.to_dict()
    values["target_modules"] = sorted(values["target_modules"])
    parsed = parse_adapter_config(json.dumps(values).encode())
    assert len(expected) == 10
    assert {module: parsed.gamma_of(module) for module in expected} == expected
