"""Merges that cannot be: each is named by adapter and module before anything is computed."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.adapter_folder import open_adapter, open_base
from plait.algebra.merge_plan import DEFINED, MergePlan, WeightedAdapter, plan_merge
from plait.errors import InvalidInput
from plait.model.adapter_families import FAMILIES
from plait.model.base_layout import find_tied_weights
from reference.made_merges import (
    CASES,
    CONV,
    CONV_FACTORS,
    EMBEDDING,
    EMBEDDING_FACTORS,
    FACTORS,
    LINEAR,
    PREFIX,
    Case,
    lora,
    make_case,
    numbers,
)


def plan(tmp_path: Path, *cases: Case, weights: tuple[float, ...] = ()) -> MergePlan:
    """Plan a merge of adapters into the base of the first one."""
    written = [case.write(tmp_path / str(index)) for index, case in enumerate(cases)]
    base = open_base(written[0][0])
    tied = find_tied_weights(cases[0].base_config, base.kinds)
    adapters = [
        WeightedAdapter.open(open_adapter(f"team/{index}@v1", adapter), weight)
        for index, ((_, adapter), weight) in enumerate(
            zip(written, weights or (1.0,) * len(cases), strict=True)
        )
    ]
    return plan_merge(adapters, base, tied)


def refuse(tmp_path: Path, *cases: Case, weights: tuple[float, ...] = ()) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        plan(tmp_path, *cases, weights=weights)
    return caught.value


def damaged(values: Any, bad: float = np.nan) -> Any:
    copy = values.copy()
    copy.flat[-1] = bad
    return copy


def test_tensors_that_no_adapter_touches_are_in_no_plan(tmp_path: Path) -> None:
    assert list(plan(tmp_path, CASES["lora-bias"]()).tensors) == ["q.bias", "q.weight"]
    assert list(plan(tmp_path, CASES["ia3-inputs"]()).tensors) == ["q.weight"]


def test_module_that_the_base_lacks_is_named(tmp_path: Path) -> None:
    case = make_case(lora(3), {"other.weight": (20, 13)}, FACTORS)
    error = refuse(tmp_path, case)
    assert error.kind == "base-mismatch"
    assert "has no tensor q.weight" in error.message


def test_whole_tensor_that_the_base_lacks_is_named(tmp_path: Path) -> None:
    case = make_case(lora(3, modules_to_save=["head"]), LINEAR, {"head.weight": (3, 4)})
    error = refuse(tmp_path, case)
    assert error.kind == "base-mismatch"
    assert "has no tensor head.weight, which team/0@v1 changes" in error.message


@pytest.mark.parametrize("shape", [(13, 20), (20, 14), (19, 13), (20,)])
def test_weight_of_another_shape_is_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    error = refuse(tmp_path, make_case(lora(3), {"q.weight": shape}, FACTORS))
    assert error.kind == "shape-mismatch"
    assert error.details["module"] == "q"
    assert "20 x 13" in error.message


@pytest.mark.parametrize("name", ["dora", "vera", "loha", "ia3-outputs", "pissa", "kasa"])
def test_weight_of_another_shape_is_named_by_every_family(tmp_path: Path, name: str) -> None:
    case = CASES[name]()
    base = {**case.base, "q.weight": numbers(23, 13, seed=1)}
    error = refuse(tmp_path, replace(case, base=base))
    assert error.kind == "shape-mismatch"
    assert "module q" in error.message or "q.weight" in error.message


def test_whole_tensor_and_bias_of_another_shape_are_named(tmp_path: Path) -> None:
    whole, biased = CASES["lora-whole-tensor"](), CASES["lora-bias"]()
    error = refuse(
        tmp_path / "whole",
        replace(whole, base={**whole.base, "head.weight": numbers(6, 5, seed=1)}),
    )
    assert (error.kind, error.details["module"]) == ("shape-mismatch", "head")
    error = refuse(
        tmp_path / "bias", replace(biased, base={**biased.base, "q.bias": numbers(19, seed=1)})
    )
    assert (error.kind, error.details["tensor"]) == ("shape-mismatch", "q.bias")


def test_bias_without_one_in_the_base_is_not_mergeable(tmp_path: Path) -> None:
    case = CASES["lora-bias"]()
    base = {name: values for name, values in case.base.items() if name != "q.bias"}
    error = refuse(tmp_path, replace(case, base=base))
    assert error.kind == "not-mergeable"
    assert "module q, cannot be merged: it adds to the module's bias" in error.message


@pytest.mark.parametrize("said", [{"tie_word_embeddings": True}, {}])
def test_tied_weights_are_not_mergeable_and_untied_ones_are(
    tmp_path: Path, said: dict[str, bool]
) -> None:
    tensors = {"model.embed_tokens.weight": (21, 8)}
    parts = {f"model.embed_tokens.{name.partition('.')[2]}": shape
             for name, shape in EMBEDDING_FACTORS.items()}  # fmt: skip
    config = {"architectures": ["LlamaForCausalLM"], **said}
    case = make_case(lora(3), tensors, parts, base_config=config)
    error = refuse(tmp_path / "tied", case)
    assert error.kind == "not-mergeable"
    assert "the base ties its weight to that of lm_head" in error.message
    plan(
        tmp_path / "untied",
        replace(case, base_config={**config, "tie_word_embeddings": False}),
    )


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_adapter_that_is_not_finite_is_named(tmp_path: Path, name: str, bad: float) -> None:
    case = CASES[name]()
    damage = max(case.adapter)
    adapter = {**case.adapter, damage: damaged(case.adapter[damage], bad)}
    error = refuse(tmp_path, replace(case, adapter=adapter, adapter_dtype="F32"))
    assert error.kind == "tensor-not-finite"
    assert damage in error.message


@pytest.mark.parametrize("name", ["dora", "pissa", "kasa", "ia3-outputs", "vera"])
def test_base_that_is_not_finite_is_named_where_it_is_read(tmp_path: Path, name: str) -> None:
    case = CASES[name]()
    base = {**case.base, "q.weight": damaged(case.base["q.weight"])}
    error = refuse(tmp_path, replace(case, base=base))
    assert error.kind == "tensor-not-finite"
    assert "weight of q holds" in error.message


def test_families_without_a_definition_say_what_to_do(tmp_path: Path) -> None:
    case = replace(
        make_case({"peft_type": "HRA"}, LINEAR, {"q.hra_u": (13, 2)}), config={"peft_type": "HRA"}
    )
    error = refuse(tmp_path, case)
    assert error.kind == "not-mergeable"
    assert "HRA has no written definition" in error.message
    assert "plait convert" in error.message


@pytest.mark.parametrize(
    ("config", "parts", "reason"),
    [
        ({"peft_type": "PROMPT_TUNING"}, {"": (4, 8)}, "virtual tokens"),
        (lora(3, init_lora_weights="pissa_niter_4"), FACTORS, "random search"),
        (lora(3, init_lora_weights="corda"), FACTORS, "CorDA"),
        (lora(3, alora_invocation_tokens=[1]), FACTORS, "aLoRA"),
        (lora(3, use_qalora=True), FACTORS, "pooled"),
        (lora(3), {**FACTORS, "q.lora_new": (3,)}, "does not know"),
        ({"peft_type": "VERA"}, {"q.vera_lambda_b": (20,), "q.vera_lambda_d": (3,)}, "save_proj"),
        ({"peft_type": "NEW_ONE"}, {"q.new": (3,)}, "NEW_ONE"),
    ],
)
def test_what_has_no_merge_says_why(
    tmp_path: Path, config: Mapping[str, Any], parts: Mapping[str, tuple[int, ...]], reason: str
) -> None:
    case = make_case(config, LINEAR, parts)
    if "" in parts:
        case = replace(case, adapter={"prompt_embeddings": numbers(4, 8, seed=1)})
    error = refuse(tmp_path, case)
    assert error.kind == "not-mergeable"
    assert reason in error.message


def test_every_defined_family_is_known_and_has_a_case() -> None:
    assert FAMILIES.keys() >= DEFINED
    assert {case().config["peft_type"] for case in CASES.values()} == DEFINED


def test_two_whole_tensors_must_be_one(tmp_path: Path) -> None:
    case = CASES["lora-whole-tensor"]()
    assert plan(tmp_path / "same", case, case).tensors["head.weight"].replacement is not None
    name = f"{PREFIX}head.weight"
    other = replace(case, adapter={**case.adapter, name: numbers(5, 6, seed=77)})
    error = refuse(tmp_path / "other", case, other)
    assert error.kind == "not-mergeable"
    assert "team/1@v1, module head, cannot be merged" in error.message


def test_whole_tensor_has_no_weight_and_no_sum(tmp_path: Path) -> None:
    case = CASES["lora-whole-tensor"]()
    error = refuse(tmp_path / "weight", case, weights=(0.5,))
    assert "is saved whole (weight), which has no weighted sum" in error.message
    parts = {"head.lora_A.weight": (3, 6), "head.lora_B.weight": (5, 3)}
    adding = make_case(lora(3), {"head.weight": (5, 6)}, parts)
    error = refuse(tmp_path / "sum", case, adding)
    assert error.kind == "not-mergeable"
    assert error.details["module"] == "head"


def test_copy_of_the_base_must_be_the_base(tmp_path: Path) -> None:
    parts = {**EMBEDDING_FACTORS, "embed.base_layer.weight": (21, 8)}
    case = make_case(lora(3), EMBEDDING, parts)
    error = refuse(tmp_path / "other", case)
    assert error.kind == "not-mergeable"
    assert "brings a weight of its own for its delta" in error.message
    copy = f"{PREFIX}embed.base_layer.weight"
    same = replace(case, adapter={**case.adapter, copy: case.base["embed.weight"]})
    assert list(plan(tmp_path / "same", same).tensors) == ["embed.weight"]


def test_trained_bias_is_whole_and_one_that_was_not_trained_a_copy(tmp_path: Path) -> None:
    case = CASES["lora-trained-bias"]()
    assert plan(tmp_path / "trained", case).tensors["q.bias"].replacement is not None
    error = refuse(tmp_path / "copy", replace(case, config=lora(3)))
    assert "brings a bias of its own" in error.message


def test_base_of_another_dtype_is_not_mergeable(tmp_path: Path) -> None:
    case = make_case(lora(3), LINEAR, FACTORS)
    base, _ = case.write(tmp_path / "0")
    data = (base / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["q.weight"].update(dtype="F64", shape=[10, 13])
    text = json.dumps(header).encode().ljust(size)
    (base / "model.safetensors").write_bytes(data[:8] + text + data[8 + size :])
    adapter = WeightedAdapter.open(open_adapter("team/0@v1", tmp_path / "0" / "adapter"), 1.0)
    with pytest.raises(InvalidInput, match=r"keeps q\.weight as F64") as caught:
        plan_merge([adapter], open_base(base), {})
    assert caught.value.kind == "not-mergeable"


def test_factor_that_could_overflow_is_refused(tmp_path: Path) -> None:
    case = make_case(lora(3), LINEAR, FACTORS)
    plan(tmp_path / "large", case, weights=(2.0**511,))
    error = refuse(tmp_path / "too-large", case, weights=(2.0**513,))
    assert "beyond 2^512" in error.message


def test_groups_of_a_convolution_are_not_mergeable(tmp_path: Path) -> None:
    parts = {**CONV_FACTORS, "conv.lora_B.weight": (6, 1, 1, 1)}
    error = refuse(tmp_path, make_case(lora(3), CONV, parts))
    assert error.kind == "not-mergeable"
    assert "in groups" in error.message
