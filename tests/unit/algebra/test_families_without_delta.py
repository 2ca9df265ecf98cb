"""Families that no weight expresses, what replaces weights, and tensors that do not fit."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.algebra.delta import NoDelta
from plait.algebra.families import find_form, read_changes
from plait.errors import InvalidInput
from plait.model.adapter import parse_adapter_config
from plait.model.adapter_families import FAMILIES, Effect
from reference.adapters import adapter_of

MODULE = "layers.0.q_proj"
FORWARD_ONLY = [name for name, family in FAMILIES.items() if family.effect is Effect.FORWARD_ONLY]
OFT = {"peft_type": "OFT", "oft_block_size": 4, "peft_version": "0.21.2"}


def config_of(peft_type: str) -> dict[str, Any]:
    if peft_type == "BOTTLENECK":  # AdapterHub names no type
        return {"config": {"reduction_factor": 16, "non_linearity": "relu"}}
    return {"peft_type": peft_type}


@pytest.mark.parametrize("peft_type", FORWARD_ONLY)
def test_what_acts_in_the_forward_pass_alone_says_so(peft_type: str) -> None:
    adapter = adapter_of({"prompt_embeddings": np.ones((2, 3))}, **config_of(peft_type))
    (change,) = read_changes(adapter).values()
    assert isinstance(change.delta, NoDelta)
    assert change.delta.effect is Effect.FORWARD_ONLY
    assert FAMILIES[peft_type].name in change.delta.reason
    assert not change.delta.reason.endswith(".")


def test_every_forward_only_family_but_the_plain_prompts_has_a_reason_of_its_own() -> None:
    reasons = set()
    for peft_type in FORWARD_ONLY:
        adapter = adapter_of({"prompt_embeddings": np.ones((2, 3))}, **config_of(peft_type))
        (change,) = read_changes(adapter).values()
        assert isinstance(change.delta, NoDelta)
        reasons.add(change.delta.reason.replace(FAMILIES[peft_type].name, ""))
    assert len(reasons) == len(FORWARD_ONLY) - 4  # four of token prompts, two of keys


def test_ln_tuning_replaces_weights_and_biases_whole() -> None:
    stem = "base_model.model.layers.0.norm.ln_tuning_layers"
    adapter = adapter_of(
        {f"{stem}.weight": np.ones(4), f"{stem}.bias": np.zeros(4)}, peft_type="LN_TUNING"
    )
    change = read_changes(adapter)["layers.0.norm"]
    assert change.delta is None
    assert change.replacements == {"weight": f"{stem}.weight", "bias": f"{stem}.bias"}
    assert not change.names


def test_a_tensor_that_ln_tuning_does_not_know_has_no_delta() -> None:
    name = "base_model.model.layers.0.norm.ln_tuning_layers.running_mean"
    delta = read_changes(adapter_of({name: np.ones(4)}, peft_type="LN_TUNING"))["layers.0.norm"]
    assert isinstance(delta.delta, NoDelta)
    assert "running_mean" in delta.delta.reason


MISFITS: list[tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = [
    ({"peft_type": "VERA"}, {"vera_lambda_b": (9,), "vera_lambda_d": (3,)}),
    ({"peft_type": "VERA"}, {"vera_lambda_b": (5,), "vera_lambda_d": (2,)}),
    ({"peft_type": "VERA"}, {"vera_lambda_b": (5,)}),
    (
        {"peft_type": "LOHA", "r": 3},
        {f"hada_w{i}_{s}": (5, 2) if s == "a" else (2, 7) for i in (1, 2) for s in "ab"},
    ),
    (
        {"peft_type": "LOHA", "r": 2},
        {"hada_w1_a": (5, 2), "hada_w1_b": (2, 7), "hada_w2_a": (5, 2), "hada_w2_b": (2, 6)},
    ),
    ({"peft_type": "LOHA", "r": 2}, {"hada_w1_a": (5, 2), "hada_w1_b": (2, 7)}),
    ({"peft_type": "LOKR", "r": 2}, {"lokr_w1": (2, 3), "lokr_w2_a": (4, 3), "lokr_w2_b": (3, 5)}),
    ({"peft_type": "LOKR", "r": 2}, {"lokr_w1_a": (2, 3), "lokr_w1_b": (3, 5), "lokr_w2": (2, 2)}),
    ({"peft_type": "LOKR", "r": 2}, {"lokr_w2": (2, 2)}),
    (
        {"peft_type": "LOKR", "r": 2},
        {"lokr_w1": (2, 3), "lokr_w2_a": (2, 4), "lokr_w2_b": (2, 5), "lokr_t2": (2, 3, 3, 3)},
    ),
    ({"peft_type": "IA3"}, {"ia3_l": (4, 3)}),
    ({"peft_type": "IA3"}, {"ia3_l": (4,)}),
    (OFT, {"oft_R.weight": (3, 7)}),
    ({"peft_type": "BOFT"}, {"boft_R": (1, 2, 4, 4), "boft_s": (3, 2)}),
    ({"peft_type": "HRA"}, {"hra_u": (4,)}),
    ({"peft_type": "HIRA"}, {"hira_A": (2, 4), "hira_B": (5, 3)}),
    ({"peft_type": "FOURIERFT"}, {"fourierft_spectrum": (2, 2)}),
    ({"peft_type": "VBLORA"}, {"vblora_logits_A": (3, 2, 4), "vblora_logits_B": (4, 2, 4)}),
    ({"peft_type": "VBLORA"}, {"vblora_logits_A": (3, 2, 5), "vblora_logits_B": (4, 3, 5)}),
    ({"peft_type": "VBLORA", "topk": 5}, {f"vblora_logits_{side}": (1, 1, 4) for side in "AB"}),
    ({"peft_type": "MISS", "init_weights": "bat"}, {"miss_block": (2, 3, 4)}),
    ({"peft_type": "MISS"}, {"miss_block": (2, 3, 3)}),
    ({"peft_type": "C3A"}, {"c3a_kernel": (4, 3)}),
    ({"peft_type": "SHIRA"}, {"shira_weight": (4,), "shira_indices": (2, 3)}),
    ({"peft_type": "RANDLORA", "r": 3}, {"randlora_lambda": (3, 2), "randlora_gamma": (3, 4)}),
    (
        {"peft_type": "DELORA"},
        {"delora_A": (3, 6), "delora_B": (5, 2), "delora_lambda": (1,), "delora_w_norm": (6,)},
    ),
    ({"peft_type": "GRALORA"}, {"gralora_A": (2, 3, 3), "gralora_B": (2, 3, 5)}),
    (
        {"peft_type": "GRALORA"},
        {
            "gralora_A": (2, 3, 4),
            "gralora_B": (2, 4, 5),
            "gralora_A_general.weight": (2, 6),
        },
    ),
]
SHARED = {
    "vera_A": (3, 9),
    "vera_B": (8, 3),
    "vblora_vector_bank": (4, 5),
    "randlora_A": (3, 1, 6),
    "randlora_B": (7, 2, 3),
}


@pytest.mark.parametrize(("config", "parts"), MISFITS, ids=str)
def test_tensors_that_do_not_fit_together_are_refused_by_name(
    config: dict[str, Any], parts: dict[str, tuple[int, ...]]
) -> None:
    stem = str(config["peft_type"]).lower()[:4]
    tensors = {
        f"base_model.model.{MODULE}.{part}": np.zeros(shape) for part, shape in parts.items()
    }
    tensors |= {
        f"base_model.{part}": np.zeros(shape) for part, shape in SHARED.items() if part[:4] == stem
    }
    changes = read_changes(adapter_of(tensors, **config))
    with pytest.raises(InvalidInput, match=r"team/adapter@\w+, module layers\.0\.q_proj") as caught:
        _ = changes[MODULE]
    assert caught.value.kind == "shape-mismatch"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"peft_type": "C3A"}, {"c3a_kernel": (2, 2, 2)}),
        ({"peft_type": "HRA"}, {"hra_u": (4, 2)}),
        ({"peft_type": "FOURIERFT"}, {"fourierft_spectrum": (3,)}),
        (OFT, {"oft_R.weight": (3, 6)}),
    ],
    ids=str,
)
def test_numbers_that_are_not_finite_are_refused_by_name(
    value: float, config: dict[str, Any], parts: dict[str, tuple[int, ...]]
) -> None:
    tensors = {f"base_model.model.{MODULE}.{part}": np.ones(shape) for part, shape in parts.items()}
    next(iter(tensors.values())).flat[1] = value
    changes = read_changes(adapter_of(tensors, **config))
    with pytest.raises(InvalidInput, match=next(iter(parts))) as caught:
        _ = changes[MODULE]
    assert caught.value.kind == "tensor-not-finite"


def test_the_page_about_families_names_every_one() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/families.md").read_text("utf-8")
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", page))
    assert named == FAMILIES.keys() - {"BOTTLENECK"}
    not_computed = page.partition("| not computed |")[2].partition("|")[0]
    assert set(re.findall(r"`(\w+)`", not_computed)) == {
        name
        for name, family in FAMILIES.items()
        if family.effect is not Effect.FORWARD_ONLY and not is_read(name)
    }


def is_read(peft_type: str) -> bool:
    config = parse_adapter_config(json.dumps(config_of(peft_type)).encode())
    return find_form(config).find_delta.__module__ != "plait.algebra.families"
