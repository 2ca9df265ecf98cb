import json
import math
from pathlib import Path
from typing import Any

import pytest

from plait.errors import InvalidInput, PlaitError, TooLarge
from plait.model.adapter import LARGEST_CONFIG, AdapterConfig, parse_adapter_config
from plait.model.adapter_families import FAMILIES, Effect

MODULE = "model.layers.0.self_attn.q_proj"


def config(**values: Any) -> AdapterConfig:
    return parse_adapter_config(json.dumps({"peft_type": "LORA", **values}).encode())


def refuse(data: bytes) -> PlaitError:
    with pytest.raises(InvalidInput) as caught:
        parse_adapter_config(data)
    assert caught.value.kind == "invalid-adapter-config"
    return caught.value


def test_a_lora_config_says_what_it_is() -> None:
    parsed = config(
        r=8,
        lora_alpha=16,
        target_modules=["v_proj", "q_proj"],
        base_model_name_or_path="org/base",
        revision="abc",
        task_type="CAUSAL_LM",
    )
    assert parsed.peft_type == "LORA"
    assert parsed.effect is Effect.LOW_RANK_DELTA
    assert parsed.is_known
    assert (parsed.rank, parsed.alpha) == (8, 16)
    assert parsed.target_modules == ("q_proj", "v_proj")
    assert (parsed.base_name, parsed.base_revision, parsed.task_type) == (
        "org/base",
        "abc",
        "CAUSAL_LM",
    )
    assert parsed.summary() == "LoRA r=8 alpha=16 on q_proj, v_proj"


def test_an_empty_base_name_counts_as_none() -> None:
    assert config(base_model_name_or_path="").base_name is None


def test_options_that_change_the_weights_are_listed() -> None:
    parsed = config(use_rslora=True, lora_bias=True, fan_in_fan_out=True, bias="all", eva_config={})
    assert parsed.modifiers == ("use_rslora", "lora_bias", "fan_in_fan_out", "bias")
    assert parsed.use_rslora
    assert parsed.lora_bias
    assert parsed.fan_in_fan_out
    assert not parsed.use_dora


def test_options_that_are_null_or_off_are_not_listed() -> None:
    assert config(use_dora=None, use_bdlora=None, kasa_config=None, bias="none").modifiers == ()


def test_dora_needs_the_base() -> None:
    assert config(use_dora=True).effect is Effect.FUNCTION_OF_BASE


@pytest.mark.parametrize("peft_type", ["MISS", "BONE"])
def test_the_bat_form_of_miss_needs_the_base(peft_type: str) -> None:
    assert config(peft_type=peft_type, init_weights="bat").effect is Effect.FUNCTION_OF_BASE
    assert config(peft_type=peft_type, init_weights=True).effect is Effect.LOW_RANK_DELTA


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "OLoRA", "corda", "loftq", "lora_ga"])
def test_an_initialisation_that_changed_the_base_is_told(init: str) -> None:
    assert config(init_lora_weights=init).base_changing_init == init
    assert f"init={init}" in config(init_lora_weights=init).summary()


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_an_initialisation_that_kept_the_base_is_not_told(init: object) -> None:
    assert config(init_lora_weights=init).base_changing_init is None


def test_an_unknown_type_is_kept_and_says_so() -> None:
    parsed = config(peft_type="FUTURE", r="many", target_modules={"a": 1})
    assert not parsed.is_known
    assert parsed.effect is Effect.OPAQUE
    assert parsed.target_modules == ()
    assert parsed.rank is None
    assert parsed.values["r"] == "many"
    assert parsed.summary() == "FUTURE (a type that plait does not know)"


BOTTLENECK = {"mh_adapter": False, "output_adapter": True, "reduction_factor": 16}


@pytest.mark.parametrize("document", [BOTTLENECK, {"config": BOTTLENECK}])
def test_a_bottleneck_config_of_adapterhub_is_recognised(document: dict[str, Any]) -> None:
    parsed = parse_adapter_config(json.dumps({**document, "model_name": "bert"}).encode())
    assert parsed.peft_type == "BOTTLENECK"
    assert parsed.effect is Effect.FORWARD_ONLY
    assert parsed.base_name == "bert"


def test_a_config_without_a_type_is_refused() -> None:
    assert "peft_type" in refuse(b'{"r": 8}').message
    assert "peft_type" in refuse(b'{"peft_type": 3}').message
    assert "peft_type" in refuse(b'{"peft_type": ""}').message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"peft_type": "LORA", "lora_alpha": NaN}',
        b'{"peft_type": "LORA", "other": [{"deep": 1e999}]}',
        b'{"peft_type": "LORA", "peft_type": "IA3"}',
        b'{"peft_type": "LORA", "x": "\\ud800"}',
        b'{"peft_type": "LORA", "x": {"\\ud800": 1}}',
        b'{"peft_type": "LORA", "r": 0}',
        b'{"peft_type": "LORA", "r": true}',
        b'{"peft_type": "LORA", "r": 8.5}',
        b'{"peft_type": "LORA", "lora_alpha": "16"}',
        b'{"peft_type": "LORA", "lora_alpha": true}',
        b'{"peft_type": "LORA", "lora_alpha": 1e300}',
        b'{"peft_type": "LORA", "rank_pattern": []}',
        b'{"peft_type": "LORA", "rank_pattern": {"q_proj": 0}}',
        b'{"peft_type": "LORA", "alpha_pattern": {"q_proj": null}}',
        b'{"peft_type": "LORA", "target_modules": [1]}',
        b'{"peft_type": "LORA", "target_modules": {}}',
        b'{"peft_type": "LORA", "revision": 7}',
        b'{"peft_type": "ADALORA", "rank_pattern": {"q.lora_E": [1, 0]}}',
        b'{"peft_type": "LORA", "x": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"peft_type": "LORA", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_malformed_config_is_refused(data: bytes) -> None:
    refuse(data)


def test_a_config_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        parse_adapter_config(b" " * (LARGEST_CONFIG + 1))


def test_an_unhashable_bias_is_no_crash() -> None:
    assert config(bias=["all"]).modifiers == ("bias",)


def test_the_canonical_form_ignores_the_order_of_sets() -> None:
    one = config(target_modules=["b", "a"], exclude_modules=["y", "x"], lora_alpha=16.0)
    two = config(target_modules=["a", "b", "a"], exclude_modules=["x", "y"], lora_alpha=16)
    assert one.canonical() == two.canonical()
    assert one.canonical()["target_modules"] == ["a", "b"]
    assert type(one.canonical()["lora_alpha"]) is int


def test_the_canonical_form_keeps_orders_that_mean_something() -> None:
    parsed = config(target_parameters=["b", "a"], target_modules="all-linear", modules_to_save=None)
    assert parsed.canonical()["target_parameters"] == ["b", "a"]
    assert parsed.canonical()["target_modules"] == "all-linear"
    assert parsed.canonical()["modules_to_save"] is None


def test_the_canonical_form_survives_mixed_lists_and_huge_numbers() -> None:
    parsed = config(layers_to_transform=[1, "a"], exclude_modules=[["x"]], other=[1e300, 0.5])
    assert parsed.canonical()["layers_to_transform"] == [1, "a"]
    assert parsed.canonical()["exclude_modules"] == [["x"]]
    assert parsed.canonical()["other"] == [1e300, 0.5]


def test_values_are_read_only() -> None:
    with pytest.raises(TypeError):
        config().values["r"] = 1  # type: ignore[index]


def test_gamma_is_alpha_over_r() -> None:
    assert config(r=8, lora_alpha=16).gamma_of(MODULE) == 2


def test_gamma_of_rslora_divides_by_the_root() -> None:
    parsed = config(r=32, lora_alpha=32, use_rslora=True)
    assert parsed.gamma_of(MODULE) == 32 / math.sqrt(32)
    assert "rsLoRA" in parsed.summary()


def test_gamma_uses_the_defaults_of_peft() -> None:
    assert config().gamma_of(MODULE) == 1
    assert config(peft_type="LOHA").gamma_of(MODULE) == 1
    assert config(peft_type="RANDLORA").gamma_of(MODULE) == 20


def test_the_first_pattern_that_matches_wins() -> None:
    parsed = config(
        r=8,
        rank_pattern={"layers.0.self_attn.q_proj": 4, "q_proj": 16},
        alpha_pattern={".*q_proj": 64, "q_proj": 1},
    )
    assert parsed.rank_of(MODULE) == 4
    assert parsed.rank_of("model.layers.1.self_attn.q_proj") == 16
    assert parsed.rank_of("model.layers.1.self_attn.my_q_proj") == 8
    assert parsed.alpha_of(MODULE) == 64
    assert parsed.gamma_of(MODULE) == 16


def test_adalora_scales_by_the_initial_rank_and_prunes_by_module() -> None:
    parsed = config(
        peft_type="ADALORA",
        init_r=12,
        r=8,
        lora_alpha=32,
        rank_pattern={f"{MODULE}.lora_E": [True, False, True] + [False] * 9},
    )
    assert parsed.rank == 12
    assert parsed.rank_of(MODULE) == 2
    assert parsed.rank_of("model.other") == 12
    assert parsed.gamma_of(MODULE) == 32 / (12 + 1e-5)


def test_adalora_takes_the_rank_for_an_alpha_that_is_not_positive() -> None:
    assert config(peft_type="ADALORA", lora_alpha=0).gamma_of(MODULE) == 12 / (12 + 1e-5)


def test_a_family_without_alpha_has_no_gamma() -> None:
    parsed = config(peft_type="VERA", r=64)
    assert parsed.rank == 64
    assert parsed.alpha is None
    for ask in (parsed.gamma_of, parsed.rank_of, parsed.alpha_of):
        with pytest.raises(InvalidInput, match="VeRA"):
            ask(MODULE)


def test_a_summary_is_short_and_cannot_move_the_cursor() -> None:
    parsed = config(
        target_modules=[f"m{number}" for number in range(12)],
        modules_to_save=["head\x1b[2J"],
        lora_bias=True,
        use_dora=True,
    )
    summary = parsed.summary()
    assert "and 4 more" in summary
    assert "DoRA bias" in summary
    assert summary.endswith("and all of head?[2J")


def test_a_summary_of_a_prompt_counts_its_tokens() -> None:
    parsed = config(peft_type="PROMPT_TUNING", num_virtual_tokens=16)
    assert parsed.summary() == "prompt tuning with 16 virtual tokens"


def test_every_family_has_one_row_under_its_own_type() -> None:
    assert len(FAMILIES) == 47
    assert all(peft_type == family.peft_type for peft_type, family in FAMILIES.items())
    assert all(family.effect is not Effect.OPAQUE for family in FAMILIES.values())


@pytest.mark.torch
def test_every_type_of_peft_is_known() -> None:
    from peft import PeftType

    assert {peft_type.value for peft_type in PeftType} <= FAMILIES.keys()


def test_every_adapter_of_the_zoo_is_understood(zoo_data: Path) -> None:
    folders = {
        path.relative_to(zoo_data / "adapters").parts[0]: parse_adapter_config(path.read_bytes())
        for path in (zoo_data / "adapters").rglob("adapter_config.json")
    }
    assert len(folders) == 23
    assert all(parsed.is_known for parsed in folders.values())
    assert all(parsed.base_name == "zoo/base" for parsed in folders.values())
    assert folders["prose-pissa"].base_changing_init == "pissa_niter_4"
    assert folders["cpp-dora-r8"].effect is Effect.FUNCTION_OF_BASE
    assert folders["cpp-lora-modules-to-save"].modules_to_save == ("norm",)
