"""Which tensors make up which quantised weight, and when a base is none."""

from typing import Any

import pytest

from plait.model.quantization import Quantization, Scheme, find_quantization

M = "model.layers.0.q_proj"
STATE = f"{M}.weight.quant_state.bitsandbytes__nf4"
NF4 = {f"{M}.weight", f"{M}.weight.absmax", f"{M}.weight.quant_map", STATE}
NESTED = {f"{M}.weight.nested_absmax", f"{M}.weight.nested_quant_map"}
INT8 = {f"{M}.weight", f"{M}.SCB", f"{M}.weight_format"}
GPTQ = {f"{M}.qweight", f"{M}.qzeros", f"{M}.scales", f"{M}.g_idx"}
AWQ = {f"{M}.qweight", f"{M}.qzeros", f"{M}.scales"}
NORM = {"model.norm.weight"}
BNB = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}


def found(tensors: set[str], config: dict[str, Any] | None = None) -> Quantization:
    quantization = find_quantization(config or {}, tensors)
    assert quantization is not None
    return quantization


def test_ordinary_weights_are_not_quantised() -> None:
    assert find_quantization({}, {f"{M}.weight", *NORM}) is None


def test_a_wish_to_quantise_while_loading_does_not_make_weights_quantised() -> None:
    assert find_quantization(BNB, {f"{M}.weight", *NORM}) is None
    old = {"quantization_config": {"load_in_8bit": True}}
    assert find_quantization(old, {f"{M}.weight", *NORM}) is None


def test_nf4_has_its_parts_beside_the_weight() -> None:
    quantization = found(NF4 | NORM, BNB)
    assert quantization.method == "bitsandbytes"
    assert quantization.schemes == (Scheme.NF4,)
    assert quantization.obstacle is None
    assert quantization.stored == NF4
    assert quantization.weights[f"{M}.weight"].parts == {
        "codes": f"{M}.weight",
        "state": STATE,
        "absmax": f"{M}.weight.absmax",
        "quant_map": f"{M}.weight.quant_map",
    }


def test_nested_scales_belong_to_the_weight() -> None:
    assert found(NF4 | NESTED | NORM).stored == NF4 | NESTED


def test_fp4_is_told_by_its_state() -> None:
    names = {name.replace("nf4", "fp4") for name in NF4}
    assert found(names).schemes == (Scheme.FP4,)


def test_int8_has_its_parts_beside_the_module() -> None:
    quantization = found(INT8 | NORM)
    assert quantization.schemes == (Scheme.INT8,)
    assert quantization.obstacle is None
    assert quantization.stored == INT8
    assert found(INT8 - {f"{M}.weight_format"}).obstacle is None


def test_tensors_decide_and_not_the_configuration() -> None:
    assert found(NF4, {"quantization_config": {"quant_method": "gptq"}}).method == "bitsandbytes"
    assert found(INT8, {}).method == "bitsandbytes"


@pytest.mark.parametrize(
    ("tensors", "config", "scheme"),
    [
        (GPTQ, {"quantization_config": {"quant_method": "gptq"}}, Scheme.GPTQ),
        (AWQ, {"quantization_config": {"quant_method": "AWQ"}}, Scheme.AWQ),
        (GPTQ, {}, Scheme.GPTQ),
        (AWQ, {}, Scheme.AWQ),
        # Files of GPTQ without an order of columns look like those of AWQ.
        (AWQ, {"quantization_config": {"quant_method": "gptq"}}, Scheme.GPTQ),
    ],
)
def test_gptq_and_awq_are_known_by_name_alone(
    tensors: set[str], config: dict[str, Any], scheme: Scheme
) -> None:
    quantization = found(tensors | NORM, config)
    assert quantization.method == scheme
    assert quantization.schemes == (scheme,)
    assert quantization.stored == tensors
    assert quantization.obstacle is not None
    assert f"quantised with {scheme} is known by name and fingerprint" in quantization.obstacle


@pytest.mark.parametrize(
    ("settings", "method"),
    [({"quant_method": "fp8"}, "fp8"), ({"quant_method": 7}, "unknown"), ({}, "unknown")],
)
def test_other_methods_are_believed_and_not_dequantised(
    settings: dict[str, Any], method: str
) -> None:
    quantization = found({f"{M}.weight"}, {"quantization_config": settings})
    assert quantization.method == method
    assert not quantization.weights
    assert quantization.obstacle is not None


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (NF4 - {f"{M}.weight"}, "lacks the weight itself"),
        (NF4 - {f"{M}.weight.absmax"}, "lacks its tensor absmax"),
        (NF4 | {f"{M}.weight.nested_absmax"}, "lacks its tensor nested_quant_map"),
        (INT8 - {f"{M}.weight"}, "lacks the weight itself"),
    ],
)
def test_a_weight_without_a_part_is_an_obstacle(tensors: set[str], words: str) -> None:
    obstacle = found(tensors).obstacle
    assert obstacle is not None
    assert f"{M}.weight {words}" in obstacle


def test_conv1d_models_are_not_dequantised() -> None:
    obstacle = found(INT8, {"model_type": "gpt2"}).obstacle
    assert obstacle is not None
    assert "a quantised gpt2 keeps its Conv1D weights transposed" in obstacle


@pytest.mark.parametrize("settings", [None, "nf4", [1]])
def test_settings_that_are_no_object_say_nothing(settings: object) -> None:
    assert find_quantization({"quantization_config": settings}, {f"{M}.weight"}) is None
