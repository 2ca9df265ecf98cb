"""Composed adapters loaded by real PEFT change the base as their parts, weighted, would.

What a part does is what PEFT's own merge of it says, so that both ends are PEFT's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.compose_folder import ComposedInput, Workplace, compose_folder
from plait.describe import describe_folder
from plait.errors import InvalidInput
from reference.compositions import recipe
from reference.peft_compositions import adapted_modules, trained_model
from reference.peft_merges import Weights, adapt, size, weights_of

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]

SINGLE = 3e-6
"""The outcome is in float32, and PEFT adds it up in float32 or float64."""


@pytest.fixture(autouse=True)
def quiet_peft() -> Iterator[None]:
    """PEFT warns of what the tests do on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Case:
    """Adapters with their weights, and how to compose them."""

    parts: Sequence[tuple[str, dict[str, Any], float]]
    """The class of PEFT's configuration, its fields, and the weight."""
    method: str = "sum"
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"energy": 1.0})
    fields: Mapping[str, Any] = field(default_factory=dict)
    uses_base: bool = False


def small_base() -> Any:
    """Return a model with a module of each kind, in float64."""
    import torch
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(5)
    modules = {
        "wide": nn.Linear(24, 16),
        "tall": nn.Linear(12, 36),
        "embed": nn.Embedding(30, 16),
        "conv": nn.Conv2d(4, 6, 3),
        "gpt": Conv1D(12, 20),
        "norm": nn.LayerNorm(16),
    }
    return nn.ModuleDict(modules).to(torch.float64)


def carry_out(case: Case, inputs: Sequence[Path], into: Path) -> Path:
    """Compose the adapters in folders, in float32."""
    described = [
        ComposedInput(f"team/{n}@{n}", folder, describe_folder(folder).manifest)
        for n, folder in enumerate(inputs)
    ]
    items = [{"weight": weight} for _, _, weight in case.parts]
    wanted = recipe(case.method, items, case.parameters, **{"dtype": "F32", **case.fields})
    into.mkdir()
    base: Path | None = None
    if case.uses_base:
        from safetensors.torch import save_file

        base = into.with_name("base")
        base.mkdir()
        save_file(dict(small_base().state_dict()), base / "model.safetensors")
    compose_folder(wanted, described, Workplace(into, base))
    return into


def make_parts(case: Case, folder: Path, *, dtype: Any = None) -> tuple[Weights, list[Weights]]:
    """Save each part below `folder`; return the base's weights, and those with each part merged."""
    import peft

    before: Weights = weights_of(small_base())
    merged = []
    for number, (kind, options, _) in enumerate(case.parts):
        config = getattr(peft, kind)(**options)
        merged.append(adapt(small_base(), config, folder / str(number), dtype=dtype)[2])
    return before, merged


def load(folder: Path) -> Weights:
    """Return the weights of the base with the outcome merged by PEFT."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(small_base(), str(folder)).double()
    return weights_of(model.merge_and_unload())


def largest_error(found: Weights, expected: Weights, before: Weights) -> float:
    """Return how far the weights are off at most, against the size of what was to change."""
    moved = {name: size(expected[name] - before[name]) for name in before}
    assert any(moved.values())
    return max(size(found[name] - expected[name]) / (moved[name] or 1.0) for name in before)


LORA = ("LoraConfig", {"r": 4, "lora_alpha": 6, "target_modules": ["wide", "tall"]}, 0.7)
RSLORA = (
    "LoraConfig",
    {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ["wide"]},
    -0.4,
)
PATTERNS = (
    "LoraConfig",
    {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": "all-linear",
        "exclude_modules": ["gpt"],
        "rank_pattern": {"tall": 2},
        "alpha_pattern": {"wide": 3},
    },
    1.5,
)
EMBEDDING = ("LoraConfig", {"r": 5, "lora_alpha": 4, "target_modules": ["embed", "wide"]}, 0.6)
CONVOLUTION = ("LoraConfig", {"r": 3, "target_modules": ["conv", "tall"]}, -1.2)
CONV1D = ("LoraConfig", {"r": 3, "target_modules": ["gpt"], "fan_in_fan_out": True}, 0.8)
BIAS = ("LoraConfig", {"r": 3, "target_modules": ["tall"], "lora_bias": True}, 0.5)
DORA = ("LoraConfig", {"r": 3, "target_modules": ["wide", "conv"], "use_dora": True}, 0.9)
LOHA = ("LoHaConfig", {"r": 3, "alpha": 5, "target_modules": ["wide", "conv"]}, 0.3)
LOKR = ("LoKrConfig", {"r": 2, "target_modules": ["tall", "conv"]}, -0.7)
IA3 = ("IA3Config", {"target_modules": ["wide", "tall"], "feedforward_modules": ["tall"]}, 0.4)

CASES = {
    "lora-and-rslora": Case([LORA, RSLORA]),
    "concat": Case([LORA, RSLORA, PATTERNS], "concat", {}),
    "patterns": Case([PATTERNS, LORA]),
    "embeddings": Case([EMBEDDING, LORA]),
    "embeddings-stacked": Case([EMBEDDING, LORA], "concat", {}),
    "convolutions": Case([CONVOLUTION, LORA]),
    "conv1d-alone": Case([CONV1D]),
    "conv1d-beside-linear": Case([CONV1D, LORA], "concat", {}),
    "biases": Case([BIAS, LORA]),
    "dora": Case([DORA, LORA], uses_base=True),
    "flattened-convolutions": Case([LOHA, LOKR], uses_base=True),
    "convolution-that-another-tells-of": Case([LOHA, CONVOLUTION]),
    "scales": Case([IA3, LORA], uses_base=True),
    "converted": Case([(*LOKR[:2], 1.0)], "convert", {"energy": 1.0}, uses_base=True),
}


@pytest.mark.parametrize("name", CASES)
def test_outcome_changes_the_base_as_its_weighted_parts_do(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    before, merged = make_parts(case, tmp_path)
    folders = [tmp_path / str(number) for number in range(len(case.parts))]
    found = load(carry_out(case, folders, tmp_path / "out"))
    expected = dict(before)
    for (_, _, weight), after in zip(case.parts, merged, strict=True):
        for key in before:
            expected[key] = expected[key] + weight * (after[key] - before[key])
    assert largest_error(found, expected, before) < SINGLE


SAVING = ("LoraConfig", {"r": 3, "target_modules": ["wide"], "modules_to_save": ["norm"]}, 0.25)
NORMS = ("LNTuningConfig", {"target_modules": ["norm"]}, 0.75)
BIASES = ("LoraConfig", {"r": 2, "target_modules": ["wide"], "bias": "all"}, 0.5)
WHOLE = {
    "one": (Case([SAVING, LORA]), 0),
    "first": (Case([SAVING, NORMS], fields={"saved_modules": "first"}), 0),
    "of-ln-tuning": (Case([NORMS, LORA]), 0),
    "first-of-ln-tuning": (Case([NORMS, SAVING], fields={"saved_modules": "first"}), 0),
    "biases": (Case([LORA, BIASES]), 1),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_tensors_are_the_inputs_own_in_peft(name: str, tmp_path: Path) -> None:
    case, owner = WHOLE[name]
    before, merged = make_parts(case, tmp_path)
    folders = [tmp_path / str(number) for number in range(len(case.parts))]
    found = load(carry_out(case, folders, tmp_path / "out"))
    for key in ("norm.weight", "norm.bias", "wide.bias", "conv.bias"):
        assert size(found[key] - merged[owner][key]) < SINGLE, key
    assert size(found["wide.weight"] - before["wide.weight"]) > 0.1


def test_mean_of_whole_tensors_is_what_peft_loads(tmp_path: Path) -> None:
    import torch

    case = Case([SAVING, NORMS], fields={"saved_modules": "average"})
    _, merged = make_parts(case, tmp_path, dtype=torch.float32)
    found = load(carry_out(case, [tmp_path / "0", tmp_path / "1"], tmp_path / "out"))
    for key in ("norm.weight", "norm.bias"):
        expected = 0.25 * merged[0][key] + 0.75 * merged[1][key]
        assert size(found[key] - expected) < SINGLE


def test_flattened_convolution_that_nothing_tells_of_is_refused_by_peft(tmp_path: Path) -> None:
    # Without the base it cannot be told from a linear module, and is never loaded as a wrong one.
    case = Case([(*LOHA[:2], 1.0)], "convert")
    make_parts(case, tmp_path)
    folder = carry_out(case, [tmp_path / "0"], tmp_path / "out")
    with pytest.raises(RuntimeError, match=r"size mismatch for base_model\.model\.conv\.lora_A"):
        load(folder)


def test_bias_beside_an_embedding_is_refused_by_peft_as_by_plait(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    case = Case([BIAS, EMBEDDING])
    make_parts(case, tmp_path)
    with pytest.raises(InvalidInput, match="PEFT loads no LoRA that does both"):
        carry_out(case, [tmp_path / "0", tmp_path / "1"], tmp_path / "out")
    both = LoraConfig(target_modules=["tall", "embed"], lora_bias=True)
    with pytest.raises(ValueError, match="lora_bias=True is not supported for Embedding"):
        get_peft_model(small_base(), both)


def logits_of(model: Any) -> Any:
    import torch

    torch.manual_seed(3)
    tokens = torch.randint(0, model.config.vocab_size, (2, 32))
    with torch.no_grad():
        return model(input_ids=tokens).logits.double().numpy()


BLENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "stacked": ("concat", {}),
    "summed": ("sum", {"energy": 1.0}),
}


@pytest.mark.parametrize("name", BLENDS)
def test_logits_of_the_demo_base_are_those_of_the_weights_merged_by_hand(
    name: str, micro_data: Path, tmp_path: Path
) -> None:
    import torch

    adapters = {part: micro_data / "adapters" / part for part in ("cpp/v3", "prose/v2")}
    weights = {"cpp/v3": 0.7, "prose/v2": 0.3}
    method, parameters = BLENDS[name]
    case = Case([("", {}, weight) for weight in weights.values()], method, parameters)
    carry_out(case, list(adapters.values()), tmp_path / "out")
    composed = trained_model(micro_data / "base", {"outcome": tmp_path / "out"})

    names = {part.replace("/", "-"): folder for part, folder in adapters.items()}
    parts = trained_model(micro_data / "base", names)
    with parts.disable_adapter():
        unchanged = logits_of(parts.eval())
    with torch.no_grad(), parts.disable_adapter():
        for layer in adapted_modules(parts).values():
            weight = layer.get_base_layer().weight
            for part, factor in weights.items():
                held = part.replace("/", "-")
                if held in layer.lora_A:
                    weight += factor * layer.get_delta_weight(held)
        expected = logits_of(parts.eval())
    found = logits_of(composed.eval())
    assert np.abs(found - expected).max() < 1e-4 * np.abs(unchanged - expected).max()
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()
