"""The configuration of a composed adapter: what PEFT and serving engines find its modules by."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from plait.algebra.outcome_config import configure
from plait.model.adapter import parse_adapter_config
from reference.compositions import adapter, carry_out, factors, lora, plan

Q, V = "layers.0.q_proj", "layers.1.v_proj"
HELD = {Q: factors(1, 6, 2, 8), V: factors(2, 4, 2, 8)}
NAMED: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]}


def config_of(*inputs: Any, method: str = "concat", **options: Any) -> dict[str, Any]:
    """Return what the outcome of inputs of weight 1 is configured as."""
    composition = plan(method, [(item, 1.0) for item in inputs], **options)
    found: dict[str, Any] = json.loads(
        configure(composition, list(carry_out(composition).values()))
    )
    return found


def test_outcome_is_a_plain_lora_whose_factor_is_one() -> None:
    config = config_of(lora("a/a@1", HELD, **NAMED, use_rslora=True, lora_dropout=0.1))
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 2)
    assert not any(config[key] for key in ("use_rslora", "use_dora", "lora_bias", "lora_dropout"))
    assert config["inference_mode"]


def test_modules_of_another_rank_are_named_with_rank_and_alpha() -> None:
    one, two = lora("a/a@1", HELD, **NAMED), lora("b/b@2", {Q: HELD[Q]}, **NAMED)
    config = config_of(one, two)
    # As many modules of one rank as of the other: the larger one is the rule.
    assert config["r"] == 4
    assert config["rank_pattern"] == config["alpha_pattern"] == {V: 2}
    parsed = parse_adapter_config(json.dumps(config).encode())
    assert [(parsed.rank_of(m), parsed.gamma_of(m)) for m in (Q, V)] == [(4, 1.0), (2, 1.0)]


def test_targets_are_the_names_that_the_inputs_use() -> None:
    one = lora("a/a@1", {Q: HELD[Q]}, target_modules=["q_proj"])
    two = lora("b/b@2", {V: HELD[V]}, target_modules=["layers.1.v_proj"])
    assert config_of(one, two)["target_modules"] == ["layers.1.v_proj", "q_proj"]


def test_targets_are_whole_paths_where_names_would_mean_more_or_less() -> None:
    everywhere = lora("a/a@1", HELD, target_modules="all-linear")
    assert config_of(everywhere)["target_modules"] == [Q, V]
    some_layers = lora("a/a@1", HELD, **NAMED, layers_to_transform=[0, 1])
    assert config_of(some_layers)["target_modules"] == [Q, V]
    incomplete = lora("a/a@1", HELD, target_modules=["q_proj"])
    assert config_of(incomplete)["target_modules"] == [Q, V]


def test_targets_of_another_family_do_not_become_targets_of_a_lora() -> None:
    # PEFT knows no LoRA of a normalisation layer.
    tensors = {"layers.0.norm.ln_tuning_layers.weight": np.ones(8)}
    norms = adapter("b/ln@2", tensors, peft_type="LN_TUNING", target_modules=["norm"])
    config = config_of(lora("a/a@1", HELD, **NAMED), norms)
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert config["modules_to_save"] == ["layers.0.norm"]


def test_name_that_means_a_module_held_whole_too_is_replaced_by_paths() -> None:
    whole = adapter("b/b@2", {"layers.3.q_proj.weight": np.ones((6, 8))}, target_modules=[])
    config = config_of(lora("a/a@1", HELD, **NAMED), whole)
    assert config["target_modules"] == [Q, V]
    assert config["modules_to_save"] == ["layers.3.q_proj"]


def test_saved_modules_keep_the_names_that_the_inputs_gave_them() -> None:
    b, a = HELD[Q]
    tensors = {
        f"{Q}.lora_A.weight": a,
        f"{Q}.lora_B.weight": b,
        "score.dense.weight": np.ones((2, 4)),
        "layers.0.norm.weight": np.ones(8),
    }
    saves = adapter("a/a@1", tensors, r=2, modules_to_save=["score", "norm"], **NAMED)
    assert config_of(saves)["modules_to_save"] == ["norm", "score"]


def test_copy_of_an_adapted_module_is_no_saved_module() -> None:
    b, a = factors(6, 5, 2, 20)
    tensors = {
        "embed.lora_embedding_A": a,
        "embed.lora_embedding_B": b,
        "embed.base_layer.weight": np.ones((20, 5)),
    }
    assert config_of(adapter("a/a@1", tensors, r=2))["modules_to_save"] is None


def test_module_of_which_only_the_bias_was_trained_is_no_saved_module() -> None:
    # PEFT looks for the weight of every saved module, and loads a bias without that.
    b, a = HELD[Q]
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b, "norm.bias": np.ones(8)}
    assert config_of(adapter("a/a@1", tensors, r=2, bias="all"))["modules_to_save"] is None


def test_base_and_task_are_the_inputs_own() -> None:
    base = {"base_model_name_or_path": "micro/base", "revision": "r1", "task_type": "CAUSAL_LM"}
    one = lora("a/a@1", HELD, **base)
    config = config_of(one, lora("b/b@2", HELD, **base))
    assert {key: config[key] for key in base} == base
    # Two tasks are none.
    other = lora("b/b@2", HELD, **{**base, "task_type": "SEQ_CLS"})
    assert config_of(one, other)["task_type"] is None


def test_bias_and_orientation_are_what_the_modules_came_out_with() -> None:
    b, a = HELD[Q]
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b, f"{Q}.lora_B.bias": np.ones(6)}
    assert config_of(adapter("a/a@1", tensors, r=2, lora_bias=True))["lora_bias"]
    assert config_of(lora("a/a@1", HELD, fan_in_fan_out=True))["fan_in_fan_out"]


def test_same_adapter_has_the_same_bytes() -> None:
    composition = plan("sum", [(lora("a/a@1", HELD, **NAMED), 1.0)], rank=1)
    modules = list(carry_out(composition).values())
    assert configure(composition, modules) == configure(composition, modules)
    assert configure(composition, modules).endswith(b"}\n")
