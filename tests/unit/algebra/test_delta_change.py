import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.adapter_folder import open_adapter
from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.change import Change
from plait.algebra.delta_change import DeltaComparison, compare_deltas
from plait.errors import InvalidInput
from reference.adapters import adapter_of

PREFIX = "base_model.model.layers.0.q_proj."
RNG = np.random.default_rng(7)


def source(tensors: dict[str, Any], **config: Any) -> AdapterTensors:
    return adapter_of(tensors, **{"peft_type": "LORA", "r": 2, "lora_alpha": 4, **config})


def lora(a: Any, b: Any, **others: Any) -> dict[str, Any]:
    others = {f"{PREFIX}{part}": values for part, values in others.items()}
    return {f"{PREFIX}lora_A.weight": a, f"{PREFIX}lora_B.weight": b, **others}


def factors(rank: int = 2, out: int = 5, wide: int = 7) -> tuple[Any, Any]:
    return RNG.standard_normal((rank, wide)), RNG.standard_normal((out, rank))


def only(comparison: DeltaComparison) -> Change:
    assert comparison.not_compared == ()
    assert comparison.tensors == ()
    (change,) = comparison.modules
    return change


def reason(comparison: DeltaComparison) -> str:
    assert comparison.modules == ()
    assert comparison.total.cosine is None
    return comparison.not_compared[0].reason


def norm_of(delta: Any) -> float:
    return float(np.sqrt((np.asarray(delta) ** 2).sum()))


def test_an_unchanged_adapter_has_not_moved_at_all() -> None:
    adapter = source(lora(*factors()))
    change = only(compare_deltas(adapter, adapter))
    assert change.name == "layers.0.q_proj"
    assert (change.change_norm, change.relative_change, change.cosine) == (0, 0, 1)


def test_other_factors_of_the_same_product_are_hardly_a_change() -> None:
    a, b = factors()
    mix = np.array([[2.0, 1], [1, 1]])
    other = source(lora(np.linalg.inv(mix) @ a, b @ mix))
    change = only(compare_deltas(source(lora(a, b)), other))
    assert change.relative_change == pytest.approx(0, abs=1e-14)


def test_a_step_of_one_part_in_ten_billion_is_measured() -> None:
    a, b = factors()
    change = only(compare_deltas(source(lora(a, b)), source(lora(a, b * (1 + 1e-10)))))
    # From inner products alone, the result would be off by more than its own size.
    assert change.relative_change == pytest.approx(1e-10, rel=1e-4)


def test_alpha_alone_scales_the_delta() -> None:
    tensors = lora(*factors())
    change = only(compare_deltas(source(tensors), source(tensors, lora_alpha=8)))
    assert change.relative_change == pytest.approx(1)
    assert change.cosine == pytest.approx(1)


def test_rslora_divides_by_the_root_of_the_rank() -> None:
    tensors = lora(*factors())
    change = only(compare_deltas(source(tensors), source(tensors, use_rslora=True)))
    assert change.new_norm == pytest.approx(change.old_norm * np.sqrt(2))


def test_ranks_may_differ() -> None:
    a, b = factors(rank=3)
    old = source(lora(a, b), r=3, lora_alpha=3)
    new = source(lora(a[:2], b[:, :2]), lora_alpha=2)
    change = only(compare_deltas(old, new))
    assert change.change_norm == pytest.approx(norm_of(np.outer(b[:, 2], a[2])))


def test_a_pattern_gives_the_rank_and_alpha_of_a_module() -> None:
    a, b = factors(rank=3)
    patterns = {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"q_proj": 6}}
    change = only(compare_deltas(*[source(lora(a, b), **patterns)] * 2))
    assert change.old_norm == pytest.approx(norm_of(2 * b @ a))


def test_an_embedding_has_a_delta_too() -> None:
    a, b = factors()
    tensors = {f"{PREFIX}lora_embedding_A": a, f"{PREFIX}lora_embedding_B": b}
    assert only(compare_deltas(*[source(tensors)] * 2)).old_norm == pytest.approx(
        norm_of(2 * b @ a)
    )


def test_a_convolution_is_a_product_of_its_factors() -> None:
    a, b = RNG.standard_normal((2, 3, 2, 2)), RNG.standard_normal((4, 2, 1, 1))
    dense = 2 * np.einsum("or,rikl->oikl", b[:, :, 0, 0], a)
    change = only(compare_deltas(*[source(lora(a, b))] * 2))
    assert change.old_norm == pytest.approx(norm_of(dense))


def test_adalora_weighs_its_ranks() -> None:
    a, b = factors()
    e = np.array([[0.5], [-3]])
    tensors = {f"{PREFIX}lora_A": a, f"{PREFIX}lora_B": b, f"{PREFIX}lora_E": e}
    adapter = source(tensors, peft_type="ADALORA", init_r=2)
    assert only(compare_deltas(adapter, adapter)).old_norm == pytest.approx(
        norm_of(b @ (a * e) * 4 / (2 + 1e-5))
    )


def test_a_module_that_adalora_pruned_away_is_zero() -> None:
    tensors = {
        f"{PREFIX}lora_{part}": np.zeros(shape)
        for part, shape in {"A": (0, 7), "B": (5, 0), "E": (0, 1)}.items()
    }
    pattern = {"layers.0.q_proj.lora_E": [False, False]}
    adapter = source(tensors, peft_type="ADALORA", init_r=2, rank_pattern=pattern)
    change = only(compare_deltas(adapter, adapter))
    assert (change.old_norm, change.relative_change, change.cosine) == (0, 0, None)


def test_kasa_has_a_diagonal() -> None:
    a, b = factors()
    adapter = source(lora(a, b, lora_diag=[2, 3]), kasa_config={"a": 1})
    assert only(compare_deltas(adapter, adapter)).old_norm == pytest.approx(
        norm_of(2 * b @ np.diag([2, 3]) @ a)
    )


def test_a_delta_that_grew_from_zero_has_no_relative_change() -> None:
    a, b = factors()
    comparison = compare_deltas(source(lora(a, np.zeros_like(b))), source(lora(a, b)))
    assert only(comparison).relative_change is None
    assert only(comparison).cosine is None
    assert json.dumps(comparison.to_json(), allow_nan=False)


def test_a_module_on_one_side_is_compared_to_zero() -> None:
    tensors = lora(*factors())
    added = only(compare_deltas(source({}), source(tensors)))
    assert (added.note, added.relative_change) == ("only in the new version", None)
    removed = only(compare_deltas(source(tensors), source({})))
    assert (removed.note, removed.relative_change) == ("only in the old version", 1)


def test_modules_are_sorted_by_change_and_summed() -> None:
    def adapter(*scales: float) -> AdapterTensors:
        tensors: dict[str, Any] = {}
        for number, scale in enumerate(scales):
            prefix = f"base_model.model.m{number}."
            tensors[f"{prefix}lora_A.weight"] = np.eye(2)
            tensors[f"{prefix}lora_B.weight"] = np.eye(2) * scale
        return source(tensors, lora_alpha=2)

    comparison = compare_deltas(adapter(1, 1, 1), adapter(2, 4, 1))
    assert [change.name for change in comparison.modules] == ["m1", "m0", "m2"]
    assert comparison.total.old_norm == pytest.approx(np.sqrt(6))
    assert comparison.total.change_norm == pytest.approx(np.sqrt(2 * (1 + 9)))
    assert comparison.total.cosine == pytest.approx(14 / np.sqrt(6 * 42))


def test_what_is_no_factor_is_compared_beside() -> None:
    a, b = factors()
    norm = "base_model.model.norm.weight"
    old = lora(a, b, **{"lora_B.bias": [0.0, 0], "lora_magnitude_vector": [1.0, 1]})
    new = lora(a, b, **{"lora_B.bias": [3.0, 4], "lora_magnitude_vector": [1.0, 2]})
    config = {"use_dora": True, "lora_bias": True, "modules_to_save": ["norm"]}
    comparison = compare_deltas(
        source({**old, norm: [1.0]}, **config), source({**new, norm: [1.0]}, **config)
    )
    assert [(change.name, change.change_norm) for change in comparison.tensors] == [
        (f"{PREFIX}lora_B.bias", 5),
        (f"{PREFIX}lora_magnitude_vector", 1),
    ]
    assert comparison.modules[0].note == "before DoRA rescales it"


def test_bases_changed_in_different_ways_are_told() -> None:
    tensors = lora(*factors())
    change = only(compare_deltas(source(tensors), source(tensors, init_lora_weights="pissa")))
    assert "bases that the initialisation changed" in change.note


def test_other_families_are_compared_tensor_by_tensor() -> None:
    name = f"{PREFIX}ia3_l"
    comparison = compare_deltas(
        source({name: [[1.0], [1]]}, peft_type="IA3"), source({name: [[1.0], [2]]}, peft_type="IA3")
    )
    assert "IA3" in reason(comparison)
    assert [(change.name, change.change_norm) for change in comparison.tensors] == [(name, 1)]


def test_what_belongs_to_no_module_has_a_name_for_people() -> None:
    adapter = source({"prompt_embeddings": [[1.0]]}, peft_type="PROMPT_TUNING")
    comparison = compare_deltas(adapter, adapter)
    assert comparison.not_compared[0].name == "(the whole model)"


A, B = factors()


@pytest.mark.parametrize(
    ("tensors", "config", "expected"),
    [
        (lora(A, B), {"use_qalora": True}, "pooled"),
        (lora(A, B), {"use_bdlora": {"n": 2}}, "block-diagonal"),
        (lora(A, B), {"target_parameters": ["0.q_proj.weight"]}, "parameters of experts"),
        (lora(A, B), {"rank_pattern": {"(": 2}}, "pattern"),
        (lora(A, B), {"rank_pattern": {"q_proj": 3}}, "the configuration says 3"),
        (lora(A, B[:, :1]), {}, "no product"),
        (lora(A[0], B), {}, "no product"),
        (lora(A, B, lora_diag=[1.0]), {}, "diagonal"),
        (lora(A * np.nan, B), {}, "NaN"),
        (lora(A * 1e200, B * 1e200), {}, "too large"),
        ({f"{PREFIX}lora_A.weight": A}, {}, "no pair"),
        ({f"{PREFIX}weight": A}, {}, "saved whole"),
        (lora(A[:, :3], B), {}, r"was \(5, 7\) and is \(5, 3\)"),
    ],
)
def test_a_module_without_a_delta_says_why(
    tensors: dict[str, Any], config: dict[str, Any], expected: str
) -> None:
    good = source(lora(A, B))
    bad = source(tensors, **config)
    comparison = compare_deltas(good, bad)
    with pytest.raises(AssertionError, match=expected):
        raise AssertionError(reason(comparison))
    assert compare_deltas(bad, good).modules == ()


def test_a_parameter_of_experts_is_found_below_its_wrapper() -> None:
    names = [f"base_model.model.mlp.experts.base_layer.lora_{part}.weight" for part in "AB"]
    adapter = source(dict(zip(names, (A, B), strict=True)), target_parameters=["experts.up"])
    assert "experts" in reason(compare_deltas(adapter, adapter))


def test_a_tensor_that_cannot_be_read_is_named() -> None:
    def read(name: str) -> Any:
        raise InvalidInput("invalid-input", "Tensors of dtype F4 cannot be computed with.")

    good = source(lora(A, B, lora_magnitude_vector=[1.0]))
    bad = replace(good, read=read)
    comparison = compare_deltas(good, bad)
    assert len(comparison.not_compared) == 4
    assert {item.reason for item in comparison.not_compared} == {
        "Tensors of dtype F4 cannot be computed with."
    }


def test_plain_tensors_of_equal_digests_are_not_read() -> None:
    name = f"{PREFIX}base_layer.weight"

    def read(_: str) -> Any:
        raise AssertionError("it was read")

    adapter = replace(source({name: [1.0]}), read=read, digests={name: "same"})
    assert compare_deltas(adapter, adapter).tensors == ()


BY_FACTORS = {"LORA", "ADALORA", "VERA", "VBLORA"}


def test_every_adapter_of_the_zoo_is_equal_to_itself(zoo_data: Path) -> None:
    for path in (zoo_data / "adapters").rglob("adapter_config.json"):
        adapter = open_adapter(path.parent.name, path.parent)
        comparison = compare_deltas(adapter, adapter)
        assert comparison.tensors == ()
        assert comparison.total.change_norm == 0
        peft_type = adapter.config.peft_type
        assert bool(comparison.modules) == (peft_type in BY_FACTORS), peft_type
        # Layer norms are whole tensors, which have no delta to miss.
        has_delta = peft_type != "LN_TUNING"
        assert bool(comparison.not_compared) == (has_delta and peft_type not in BY_FACTORS)


def test_training_moves_less_and_less(zoo_data: Path) -> None:
    versions = [
        open_adapter("cpp", zoo_data / "adapters" / "cpp-lora-r8" / f"v{number}")
        for number in range(1, 5)
    ]
    totals = [compare_deltas(old, new).total for old, new in pairwise(versions)]
    steps = [total.change_norm / total.old_norm for total in totals]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] > 0
