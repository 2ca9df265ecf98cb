"""What a composition is known to be, or refused for, before anything is computed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.adapter_folder import open_adapter, open_base
from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.composition import Composition, ModuleOutline
from plait.algebra.delta import ModuleKind, Placement
from plait.errors import InvalidInput
from plait.model.adapter_families import FAMILIES
from reference.compositions import adapter, base_of, factors, lora, plan

Q, V, EMBED = "layers.0.q_proj", "layers.0.v_proj", "embed_tokens"
ONE = lora("team/one@1", {Q: factors(1, 6, 2, 8), V: factors(2, 4, 2, 8)})
TWO = lora("team/two@2", {Q: factors(3, 6, 3, 8)}, r=3)
BOTH = [(ONE, 1.0), (TWO, 1.0)]

NO_DELTA = [
    "prose-p-tuning",
    "prose-pissa",
    "prose-prefix-tuning",
    "prose-prompt-tuning",
]
OF_THE_BASE = [
    "cpp-boft",
    "cpp-dora-r8",
    "cpp-fourierft",
    "cpp-hra",
    "cpp-ia3",
    "cpp-oft",
    "cpp-vera",
]


def refuse(method: str, inputs: list[tuple[AdapterTensors, Any]], **options: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        plan(method, inputs, **options)
    return caught.value


def outline(composition: Composition, module: str) -> ModuleOutline:
    return next(one for one in composition.modules if one.module == module)


def loha(label: str, out: int, width: int, **parts: Any) -> AdapterTensors:
    """Return a LoHa of one module whose factors do not tell what the module is."""
    b, a = factors(7, out, 2, width)
    tensors = {"hada_w1_a": b, "hada_w1_b": a, "hada_w2_a": b, "hada_w2_b": a, **parts}
    named = {f"{Q}.{part}": values for part, values in tensors.items()}
    return adapter(label, named, peft_type="LOHA", r=2, alpha=2)


def conv(label: str) -> AdapterTensors:
    """Return a LoRA of a convolution from 2 channels to 6 with a kernel of 2 x 2."""
    b, a = factors(8, 6, 2, 8)
    tensors = {"lora_A.weight": a.reshape(2, 2, 2, 2), "lora_B.weight": b.reshape(6, 2, 1, 1)}
    return adapter(label, {f"{Q}.{part}": x for part, x in tensors.items()}, r=2, lora_alpha=2)


def test_modules_of_all_inputs_take_part_sorted_by_name() -> None:
    composition = plan("sum", BOTH)
    assert [(one.module, one.present) for one in composition.modules] == [(Q, (0, 1)), (V, (0,))]


def test_ranks_are_bounded_by_the_sum_and_by_the_smaller_side() -> None:
    composition = plan("sum", BOTH)
    assert (outline(composition, Q).largest_rank, outline(composition, Q).rank_bound) == (3, 5)
    assert (outline(composition, V).largest_rank, outline(composition, V).rank_bound) == (2, 2)
    wide = lora("team/wide@3", {Q: factors(4, 6, 5, 8)})
    assert outline(plan("sum", [(ONE, 1.0), (wide, 1.0)]), Q).rank_bound == 6


def test_dense_delta_leaves_only_the_smaller_side_as_a_bound() -> None:
    composition = plan("sum", [(loha("team/loha@3", 6, 8), 1.0), (TWO, 1.0)])
    assert outline(composition, Q).rank_bound == 6


def test_each_module_is_read_once_and_forgotten() -> None:
    reads: Counter[str] = Counter()

    def read(name: str) -> Any:
        reads[name] += 1
        return ONE.read(name)

    plan("sum", [(replace(ONE, read=read), 1.0), (TWO, 1.0)])
    assert reads == dict.fromkeys(ONE.kinds, 1)


@pytest.mark.parametrize("name", NO_DELTA)
def test_family_without_a_delta_is_refused_with_its_reason(name: str, zoo_data: Path) -> None:
    label = f"zoo/{name}@0123"
    without = open_adapter(label, zoo_data / "adapters" / name)
    other = open_adapter("zoo/lora@4567", zoo_data / "adapters/prose-lora-bias")
    error = refuse("sum", [(other, 0.5), (without, 0.5)], base=open_base(zoo_data / "base"))
    assert error.kind == "delta-missing"
    assert error.message.startswith(f"{label} has no delta in {error.details['module'] or 'the'}")
    assert "method: stack" in error.message
    assert error.details["input"] == label


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_no_family_is_composed_from_a_tensor_that_it_does_not_know(family: str) -> None:
    # What a family cannot read must not count as a delta of zero.
    held = {f"{Q}.lora_unheard_of.weight": np.ones((2, 2))}
    odd = adapter("team/odd@3", held, peft_type=family, r=2)
    error = refuse("sum", [(TWO, 1.0), (odd, 1.0)])
    assert error.kind in {"delta-missing", "shape-mismatch"}
    assert "team/odd@3" in error.message
    assert Q in error.message


@pytest.mark.parametrize("name", OF_THE_BASE)
def test_function_of_the_base_asks_for_the_base(name: str, zoo_data: Path) -> None:
    label = f"zoo/{name}@0123"
    changed = open_adapter(label, zoo_data / "adapters" / name)
    error = refuse("sum", [(changed, 1.0)])
    assert error.kind == "delta-missing"
    assert (error.details["input"], "--base-dir" in error.message) == (label, True)
    assert error.details["module"] in error.message
    base = open_base(zoo_data / "base")
    for module in plan("sum", [(changed, 1.0)], base).modules:
        assert 0 < module.largest_rank <= module.rank_bound <= min(base.shape_of(module.module))


def test_base_without_the_module_is_refused_by_both_names() -> None:
    scaled = adapter("team/ia3@3", {f"{Q}.ia3_l": np.ones((6, 1))}, peft_type="IA3")
    error = refuse("sum", [(scaled, 1.0)], base=base_of({"other.weight": np.ones((6, 8))}))
    assert error.kind == "base-mismatch"
    assert f"the base has no tensor {Q}.weight" in error.message


def test_method_on_whole_weights_asks_for_the_base() -> None:
    error = refuse("mergekit_slerp", BOTH)
    assert error.kind == "delta-missing"
    assert "mergekit_slerp" in error.message
    assert "--base-dir" in error.message


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lora("team/other@3", {Q: factors(3, 6, 2, 9)}), "linear of (6, 9)"),
        (conv("team/other@3"), "conv with a kernel of (2, 2) of (6, 8)"),
        (
            lora("team/other@3", {Q: factors(3, 6, 2, 8)}, fan_in_fan_out=True),
            "linear of (6, 8), stored as (in, out)",
        ),
    ],
)
def test_deltas_that_do_not_fit_are_refused_by_both_inputs(
    other: AdapterTensors, said: str
) -> None:
    error = refuse("concat", [(ONE, 1.0), (other, 1.0)])
    assert error.kind == "shape-mismatch"
    assert f"team/one@1 changes {Q} as a linear of (6, 8)" in error.message
    assert f"team/other@3 as a {said}" in error.message
    assert error.details["module"] == Q


def test_flattened_delta_takes_the_kernel_of_the_base() -> None:
    base = base_of({f"{Q}.weight": np.ones((6, 2, 2, 2))})
    expected = Placement(ModuleKind.CONV, kernel=(2, 2))
    composition = plan("convert", [(loha("team/loha@3", 6, 8), 1.0)], base)
    assert outline(composition, Q).placement == expected
    both = plan("sum", [(loha("team/loha@3", 6, 8), 1.0), (conv("team/conv@4"), 1.0)], base)
    assert outline(both, Q).placement == expected


def test_flattened_delta_takes_the_kernel_of_another_input() -> None:
    for inputs in (
        [(loha("team/loha@3", 6, 8), 1.0), (conv("team/conv@4"), 1.0)],
        [(conv("team/conv@4"), 1.0), (loha("team/loha@3", 6, 8), 1.0)],
    ):
        placement = outline(plan("sum", inputs), Q).placement
        assert placement == Placement(ModuleKind.CONV, kernel=(2, 2))


def test_flattened_delta_is_a_linear_one_where_nothing_tells_otherwise() -> None:
    alone = plan("convert", [(loha("team/loha@3", 6, 8), 1.0)])
    assert outline(alone, Q).placement == Placement()
    matrix = base_of({f"{Q}.weight": np.ones((6, 8))})
    composition = plan("convert", [(loha("team/loha@3", 6, 8), 1.0)], matrix)
    assert outline(composition, Q).placement == Placement()


def test_base_with_a_matrix_tells_that_a_delta_is_no_convolution() -> None:
    matrix = base_of({f"{Q}.weight": np.ones((6, 8))})
    inputs = [(loha("team/loha@3", 6, 8), 1.0), (conv("team/conv@4"), 1.0)]
    assert refuse("sum", inputs, base=matrix).kind == "shape-mismatch"


def test_rank_above_what_the_inputs_give_names_the_widest_module() -> None:
    error = refuse("sum", BOTH, rank=6)
    assert error.kind == "rank-invalid"
    assert error.details == {"rank": 6, "limit": 5, "module": Q}
    assert Q in error.message
    assert plan("sum", BOTH, rank=5).recipe.parameters["rank"] == 5


def test_resize_wants_a_size() -> None:
    assert refuse("resize", [(ONE, 1.0)]).kind == "rank-invalid"
    assert plan("resize", [(ONE, 1.0)], energy=0.5).modules


def test_untrained_input_is_refused_by_name_and_module() -> None:
    b, a = factors(5, 6, 2, 8)
    untrained = lora("team/new@3", {Q: (0 * b, a), V: (np.zeros((4, 2)), a)})
    error = refuse("sum", [(ONE, 1.0), (untrained, 1.0)])
    assert error.kind == "delta-zero"
    assert error.details == {"input": "team/new@3", "module": Q}
    assert f"team/new@3 changes nothing: its B is zero in {Q}" in error.message
    allowed = {"allow": ["zero-delta"]}
    assert plan("sum", [(ONE, 1.0), (untrained, 1.0)], fields=allowed).modules


@pytest.mark.parametrize(
    "changed",
    [
        {f"{Q}.lora_B.bias": np.ones(6)},
        {"norm.weight": np.ones(8)},
        {f"{V}.lora_A.weight": np.ones((2, 8)), f"{V}.lora_B.weight": np.ones((4, 2))},
    ],
)
def test_input_that_changes_anything_at_all_is_not_taken_for_zero(changed: dict[str, Any]) -> None:
    b, a = factors(5, 6, 2, 8)
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": 0 * b, **changed}
    partly = adapter("team/partly@3", tensors, r=2, lora_alpha=2)
    assert plan("sum", [(ONE, 1.0), (partly, 1.0)]).modules


def test_adapter_without_tensors_is_one_that_changes_nothing() -> None:
    error = refuse("sum", [(ONE, 1.0), (adapter("team/empty@3", {}), 1.0)])
    assert error.kind == "delta-zero"
    assert "team/empty@3 changes nothing: it holds no tensor" in error.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_is_refused_by_input_module_and_tensor(value: float) -> None:
    b, a = factors(5, 6, 2, 8)
    a[1, 3] = value
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}
    # The encoder of the tests refuses such values too, but for float64.
    spoilt = adapter("team/bad@3", tensors, "F64", r=2, lora_alpha=2)
    error = refuse("sum", [(ONE, 1.0), (spoilt, 1.0)])
    assert error.kind == "tensor-not-finite"
    assert error.details["input"] == "team/bad@3"
    assert error.details["module"] == Q
    assert "lora_A.weight" in error.details["tensor"]


def test_pattern_that_fits_no_module_of_its_input_is_refused() -> None:
    error = refuse("sum", [(ONE, 1.0), (TWO, {"weight": 1.0, "modules": {"v_proj": 0.5}})])
    assert error.kind == "invalid-recipe"
    assert "'v_proj'" in error.message
    assert "team/number1@" in error.message
    assert plan("sum", [(ONE, {"weight": 1.0, "modules": {"v_proj": 0.5}})]).modules


def test_inputs_that_only_hold_whole_tensors_are_refused() -> None:
    tensors = {"norm.ln_tuning_layers.weight": np.ones(4)}
    norm = adapter("team/norm@3", tensors, peft_type="LN_TUNING")
    error = refuse("sum", [(norm, 1.0)])
    assert error.kind == "delta-missing"
    assert "team/norm@3" in error.message


def test_module_that_one_input_saves_whole_and_another_changes_is_refused() -> None:
    whole = adapter("team/whole@3", {f"{Q}.weight": np.ones((6, 8))}, modules_to_save=["q_proj"])
    error = refuse("sum", [(ONE, 1.0), (whole, 1.0)])
    assert error.kind == "saved-modules-conflict"
    assert f"team/whole@3 holds {Q} as a whole" in error.message
    assert "team/one@1 adds a delta" in error.message


def test_copy_of_the_base_beside_a_delta_is_no_conflict() -> None:
    copy = {f"{Q}.base_layer.weight": np.ones((6, 8))}
    b, a = factors(5, 6, 2, 8)
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b, **copy}
    composition = plan("sum", [(adapter("team/copy@3", tensors, r=2), 1.0), (ONE, 1.0)])
    assert outline(composition, Q).saved == {"base_layer.weight": (0,)}


def test_bias_beside_an_embedding_is_refused_as_peft_would() -> None:
    b, a = factors(5, 6, 2, 8)
    embedding = {f"{EMBED}.lora_embedding_A": a, f"{EMBED}.lora_embedding_B": b}
    adapts = adapter("team/embed@3", embedding, r=2)
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b, f"{Q}.lora_B.bias": np.ones(6)}
    biased = adapter("team/bias@4", tensors, r=2, lora_bias=True)
    error = refuse("concat", [(adapts, 1.0), (biased, 1.0)])
    assert error.kind == "delta-missing"
    assert f"team/embed@3 adapts the embedding {EMBED}, and the bias of {Q}" in error.message


@pytest.mark.parametrize(
    ("dtypes", "method", "weight", "fields", "expected"),
    [
        (("BF16", "BF16"), "sum", 0.7, {}, "BF16"),
        (("F16", "F16"), "ties", 0.7, {}, "F16"),
        (("BF16", "F16"), "sum", 0.7, {}, "F32"),
        (("BF16", "F32"), "sum", 0.7, {}, "F32"),
        (("F64", "F64"), "sum", 0.7, {}, "F32"),
        (("BF16", "F32"), "sum", 0.7, {"dtype": "F16"}, "F16"),
        # concat keeps factors: it stays in a narrow dtype only where that loses nothing.
        (("BF16", "BF16"), "concat", 0.7, {}, "F32"),
        (("BF16", "BF16"), "concat", -0.25, {}, "BF16"),
        (("BF16", "BF16"), "concat", 0.7, {"dtype": "BF16"}, "BF16"),
    ],
)
def test_outcome_has_the_dtype_that_all_inputs_share_or_float32(
    dtypes: tuple[str, str], method: str, weight: float, fields: dict[str, Any], expected: str
) -> None:
    parameters: dict[str, Any] = {"density": 0.5} if method == "ties" else {}
    inputs = [
        (lora(f"team/{n}@{n}", {Q: factors(n, 6, 2, 8)}, dtype), weight)
        for n, dtype in enumerate(dtypes)
    ]
    assert plan(method, inputs, fields=fields, **parameters).dtype == expected


def test_whole_tensors_do_not_decide_about_the_dtype() -> None:
    saved = adapter("team/saved@3", {"norm.weight": np.ones(4)}, "F32", modules_to_save=["norm"])
    narrow = lora("team/narrow@4", {Q: factors(1, 6, 2, 8)}, "BF16")
    assert plan("sum", [(narrow, 1.0), (saved, 1.0)]).dtype == "BF16"
