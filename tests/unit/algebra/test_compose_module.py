"""What a composition gives in one module, against the deltas multiplied out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from plait.algebra.adapter_tensors import AdapterTensors, BaseTensors
from plait.algebra.compose_module import compose_module
from plait.algebra.dense_svd import recompress_dense
from plait.algebra.outcome import ComposedModule
from plait.errors import InvalidInput
from reference.compositions import (
    Array,
    Factors,
    adapter,
    base_of,
    best_approximation,
    carry_out,
    factors,
    find,
    lora,
    multiplied_out,
    plan,
    values,
)

Q, V = "layers.0.q_proj", "layers.1.v_proj"
F32 = 2.0**-24
"""Half of a unit in the last place of 1: what one rounding to float32 moves a number by."""
FACTORS = {
    1: {Q: factors(1, 12, 3, 10), V: factors(2, 7, 3, 9)},
    2: {Q: factors(3, 12, 4, 10)},
    3: {Q: factors(4, 12, 2, 10), V: factors(5, 7, 2, 9)},
}
ONE, TWO, THREE = (lora(f"team/{n}@{n}", held) for n, held in FACTORS.items())
WEIGHTS = (0.7, -0.4, 1.3)
ALL = list(zip((ONE, TWO, THREE), WEIGHTS, strict=True))
SIZES = {Q: (12, 10), V: (7, 9)}


def product(held: Factors, gamma: float = 2.0) -> Array:
    b, a = held
    return gamma * (b @ a)


def delta(number: int, module: str) -> Array:
    held = FACTORS[number].get(module)
    return np.zeros(SIZES[module]) if held is None else product(held)


def weighted_sum(module: str) -> Array:
    terms = [w * delta(n, module) for n, w in zip(FACTORS, WEIGHTS, strict=True)]
    total: Array = np.sum(terms, axis=0)
    return total


def relative_error(found: Array, expected: Array) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def compose(method: str, inputs: Any, **options: Any) -> dict[str, ComposedModule]:
    return carry_out(plan(method, inputs, **options))


def refuse(method: str, inputs: Any, **options: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        compose(method, inputs, **options)
    return caught.value


def tensors_of(modules: dict[str, ComposedModule]) -> dict[str, bytes]:
    return {tensor.name: tensor.data for one in modules.values() for tensor in one.tensors}


@pytest.mark.parametrize("module", [Q, V])
def test_concat_is_the_weighted_sum_to_one_rounding_of_each_factor(module: str) -> None:
    outcome = compose("concat", ALL)[module]
    held = [
        (w, given[module])
        for w, given in zip(WEIGHTS, FACTORS.values(), strict=True)
        if module in given
    ]
    bound = np.sum([2.0 * abs(w) * F32 * (np.abs(b) @ np.abs(a)) for w, (b, a) in held], axis=0)
    assert np.all(np.abs(multiplied_out(outcome) - weighted_sum(module)) <= bound)
    assert outcome.rank == sum(a.shape[0] for _, (_, a) in held)


def test_concat_by_powers_of_two_loses_nothing_in_bfloat16() -> None:
    inputs = [(lora("a/a@1", FACTORS[1], "BF16"), 0.5), (lora("b/b@2", FACTORS[2], "BF16"), -4.0)]
    outcome = compose("concat", inputs)[Q]
    assert {tensor.dtype for tensor in outcome.tensors} == {"BF16"}
    assert np.array_equal(multiplied_out(outcome), 0.5 * delta(1, Q) - 4.0 * delta(2, Q))


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_sum_of_a_rank_is_the_best_approximation_of_that_rank(rank: int) -> None:
    outcome = compose("sum", ALL, rank=rank)
    for module, one in outcome.items():
        expected = best_approximation(weighted_sum(module), rank)
        assert relative_error(multiplied_out(one), expected) < 4 * F32
    assert outcome[Q].rank == rank
    # A module that cannot have so high a rank keeps all that it has.
    assert outcome[V].rank == min(rank, 5)


def test_sum_has_the_largest_rank_of_the_inputs_unless_told_otherwise() -> None:
    assert {name: one.rank for name, one in compose("sum", ALL).items()} == {Q: 4, V: 3}


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.999, 1.0])
def test_sum_of_an_energy_has_the_least_rank_that_keeps_it(energy: float) -> None:
    for module, one in compose("sum", ALL, energy=energy).items():
        squares = np.linalg.svd(weighted_sum(module), compute_uv=False) ** 2
        kept = np.cumsum(squares) / squares.sum()
        # Beyond the rank that the inputs have, singular values are rounding errors.
        expected = min(int(np.argmax(kept >= energy * (1 - 1e-12))) + 1, one.rank)
        assert one.rank == expected
        assert one.report is not None
        assert one.report.kept >= energy * (1 - 1e-12)


def test_report_tells_norms_and_what_the_cut_and_the_rounding_cost() -> None:
    report = compose("sum", ALL, rank=2, fields={"dtype": "BF16"})[Q].report
    assert report is not None
    squares = np.linalg.svd(weighted_sum(Q), compute_uv=False) ** 2
    assert report.weights == WEIGHTS
    assert report.input_norms == pytest.approx([np.linalg.norm(delta(n, Q)) for n in FACTORS])
    assert report.norm == pytest.approx(math.sqrt(squares[:2].sum()))
    assert report.kept == pytest.approx(squares[:2].sum() / squares.sum())
    assert 2.0**-12 < report.rounding < 2.0**-7
    assert not report.is_tied


def test_report_says_where_the_cut_is_arbitrary() -> None:
    b = np.eye(6)[:, :2]
    tied = lora("a/a@1", {Q: (b, b.T)})
    report = compose("resize", [(tied, 1.0)], rank=1)[Q].report
    assert report is not None
    assert report.is_tied
    assert report.kept == 0.5


def test_outcome_is_the_same_whether_it_is_measured_or_not() -> None:
    composition = plan("sum", ALL, rank=2)
    for outline in composition.modules:
        measured = compose_module(composition, outline)
        unmeasured = compose_module(composition, outline, measure=False)
        assert measured.tensors == unmeasured.tensors
        assert unmeasured.report is None


def test_average_divides_by_the_sum_of_the_weights() -> None:
    inputs = [(ONE, 3.0), (THREE, 1.0)]
    for module, one in compose("average", inputs, rank=5).items():
        expected = (3 * delta(1, module) + delta(3, module)) / 4
        assert relative_error(multiplied_out(one), expected) < 4 * F32


def test_negated_adapter_takes_back_what_it_does() -> None:
    for module, one in compose("negate", [(ONE, 1.0)]).items():
        assert np.array_equal(multiplied_out(one), -delta(1, module))


def test_weights_for_layers_and_modules_count_there_alone() -> None:
    item = {"weight": 2.0, "layers": {"1": 0.5}, "modules": {"q_proj": 3.0}}
    outcome = compose("concat", [(ONE, item)])
    assert np.array_equal(multiplied_out(outcome[Q]), 3.0 * delta(1, Q))
    assert np.array_equal(multiplied_out(outcome[V]), 0.5 * delta(1, V))


def test_weight_of_zero_in_a_module_leaves_the_input_out_of_its_sum() -> None:
    item = {"weight": 1.0, "modules": {"v_proj": 0.0}}
    outcome = compose("sum", [(ONE, item), (THREE, 1.0)])
    assert relative_error(multiplied_out(outcome[V]), delta(3, V)) < 4 * F32


def test_module_in_which_all_weights_are_zero_comes_out_as_zero() -> None:
    item = {"weight": 1.0, "modules": {"v_proj": 0.0}}
    for method in ("sum", "concat"):
        outcome = compose(method, [(ONE, item)])
        assert not multiplied_out(outcome[V]).any()


def test_module_where_an_input_is_absent_counts_it_as_zero() -> None:
    # The mean of two, one of which does nothing here.
    outcome = compose("average", [(ONE, 1.0), (TWO, 1.0)], rank=3)
    assert relative_error(multiplied_out(outcome[V]), delta(1, V) / 2) < 4 * F32


def test_scales_by_rslora_and_patterns_are_in_the_outcome() -> None:
    held = {Q: factors(1, 12, 4, 10), V: factors(2, 7, 2, 9)}
    options: dict[str, Any] = {
        "rank_pattern": {"v_proj": 2},
        "alpha_pattern": {"v_proj": 3},
        "use_rslora": True,
    }
    one = lora("a/a@1", held, r=4, lora_alpha=6, **options)
    outcome = compose("sum", [(one, 1.0), (TWO, 1.0)], rank=2)
    assert relative_error(multiplied_out(outcome[V]), product(held[V], 3 / math.sqrt(2))) < 4 * F32
    total = product(held[Q], 3.0) + delta(2, Q)
    assert relative_error(multiplied_out(outcome[Q]), best_approximation(total, 2)) < 4 * F32


def biased(label: str, seed: int, bias: Array | None) -> AdapterTensors:
    b, a = factors(seed, 12, 2, 10)
    tensors = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}
    if bias is not None:
        tensors[f"{Q}.lora_B.bias"] = bias
    return adapter(label, tensors, r=2, lora_alpha=4, lora_bias=bias is not None)


def test_biases_are_combined_as_the_deltas_are_and_absent_ones_are_zero() -> None:
    bias = np.arange(12) / 4
    inputs = [(biased("a/a@1", 1, bias), 0.5), (biased("b/b@2", 2, None), 1.0), (THREE, 1.0)]
    for method, options in (("concat", {}), ("sum", {"rank": 4})):
        outcome = compose(method, inputs, **options)
        assert np.array_equal(values(find(outcome[Q], "lora_B.bias")), 0.5 * 2.0 * bias)
        # PEFT wants a bias everywhere or nowhere.
        assert not values(find(outcome[V], "lora_B.bias")).any()


def test_methods_on_elements_see_biases_as_vectors() -> None:
    first, second = np.array([4.0, 1, 0, -2] * 3), np.array([-1.0, 3, 0, -2] * 3)
    inputs = [(biased("a/a@1", 1, first), 1.0), (biased("b/b@2", 2, second), 1.0)]
    outcome = compose("ties", inputs, density=1.0)
    # The sign with the larger total wins, and the mean is over those that have it; gamma is 2.
    expected = 2.0 * np.array([4.0, 2, 0, -2] * 3)
    assert np.array_equal(values(find(outcome[Q], "lora_B.bias")), expected)


def test_embedding_keeps_the_names_and_shapes_that_peft_gives_it() -> None:
    b, a = factors(6, 5, 2, 20)
    tensors = {"embed.lora_embedding_A": a, "embed.lora_embedding_B": b}
    outcome = compose("sum", [(adapter("a/a@1", tensors, r=2, lora_alpha=3), 0.5)], rank=2)["embed"]
    assert find(outcome, "lora_embedding_A").shape == (2, 20)
    assert find(outcome, "lora_embedding_B").shape == (5, 2)
    assert relative_error(multiplied_out(outcome), 0.75 * (b @ a)) < 4 * F32


@pytest.mark.parametrize("kernel", [(3,), (2, 3), (1, 2, 2)])
def test_convolution_keeps_its_kernel(kernel: tuple[int, ...]) -> None:
    size = math.prod(kernel)
    ones = (1,) * len(kernel)
    (b, a), (d, c) = factors(6, 5, 2, 4 * size), factors(7, 5, 3, 4 * size)
    inputs = [
        (conv("a/a@1", a.reshape(2, 4, *kernel), b.reshape(5, 2, *ones)), 1.0),
        (conv("b/b@2", c.reshape(3, 4, *kernel), d.reshape(5, 3, *ones)), -1.0),
    ]
    outcome = compose("sum", inputs, rank=2)["conv"]
    assert find(outcome, "lora_A.weight").shape == (2, 4, *kernel)
    assert find(outcome, "lora_B.weight").shape == (5, 2, *ones)
    expected = best_approximation(b @ a - d @ c, 2)
    assert relative_error(multiplied_out(outcome), expected) < 4 * F32


def conv(label: str, a: Array, b: Array) -> AdapterTensors:
    rank = a.shape[0]
    return adapter(
        label, {"conv.lora_A.weight": a, "conv.lora_B.weight": b}, r=rank, lora_alpha=rank
    )


def test_flattened_loha_of_a_convolution_comes_out_with_the_kernel_of_the_base() -> None:
    b, a = factors(7, 6, 2, 8)
    held = {"hada_w1_a": b, "hada_w1_b": a, "hada_w2_a": b, "hada_w2_b": a}
    tensors = {f"conv.{part}": x for part, x in held.items()}
    loha = adapter("a/a@1", tensors, peft_type="LOHA", r=2, alpha=2)
    base = base_of({"conv.weight": np.ones((6, 2, 2, 2))})
    outcome = compose("convert", [(loha, 1.0)], base=base, rank=6)["conv"]
    assert find(outcome, "lora_A.weight").shape == (6, 2, 2, 2)
    assert find(outcome, "lora_B.weight").shape == (6, 6, 1, 1)
    assert relative_error(multiplied_out(outcome), (b @ a) ** 2) < 4 * F32


def scaling(label: str, scale: Array) -> AdapterTensors:
    """Return an IA3 that scales what Q gives."""
    return adapter(label, {f"{Q}.ia3_l": scale.reshape(-1, 1)}, peft_type="IA3")


def base_with_bias() -> BaseTensors:
    rng = np.random.default_rng(9)
    return base_of({f"{Q}.weight": rng.standard_normal((12, 10)), f"{Q}.bias": np.arange(12)})


def test_function_of_the_base_is_the_difference_of_the_weights() -> None:
    scale = np.arange(12) / 8
    base = base_with_bias()
    outcome = compose("sum", [(scaling("a/a@1", scale), 1.0), (ONE, 1.0)], base=base, rank=10)[Q]
    weight = base.read(f"{Q}.weight")
    expected = (scale - 1)[:, None] * weight + delta(1, Q)
    assert relative_error(multiplied_out(outcome), expected) < 4 * F32
    # IA3 scales the bias too.
    expected = (scale - 1) * np.arange(12)
    assert np.array_equal(values(find(outcome, "lora_B.bias")), expected)


@pytest.mark.parametrize("method", ["concat", "negate", "peft_cat", "peft_linear"])
def test_method_on_factors_refuses_a_delta_without_them(method: str) -> None:
    inputs = [(scaling("a/a@1", np.ones(12) / 2), 1.0)]
    inputs += [] if method == "negate" else [(ONE, 1.0)]
    error = refuse(method, inputs, base=base_with_bias())
    assert error.kind == "delta-missing"
    assert error.details == {"input": "a/a@1", "module": Q}
    assert f"{method} works on factors, and the delta of a/a@1 in {Q} has none" in error.message


def test_slerp_leaves_out_an_input_without_a_direction_with_its_share() -> None:
    outcome = compose("slerp", [(ONE, 1.0), (TWO, 3.0)], rank=3)
    assert relative_error(multiplied_out(outcome[V]), delta(1, V) / 4) < 4 * F32


def test_weights_without_a_direction_are_refused_by_the_module() -> None:
    error = refuse("slerp", [(ONE, 1.0), (TWO, -1.0)])
    assert error.kind == "invalid-recipe"
    assert "slerp add up to 0.0 in" in error.message


def test_opposite_deltas_have_no_arc_between_them_and_are_refused_by_name() -> None:
    b, a = FACTORS[1][Q]
    opposite = lora("team/back@9", {Q: (-b, a)})
    error = refuse("slerp", [(ONE, 1.0), (opposite, 1.0)])
    assert error.kind == "invalid-input"
    assert error.details == {"inputs": ["team/1@1", "team/back@9"], "module": Q}
    assert error.message.startswith(f"team/1@1 and team/back@9, in {Q}: ")


def test_value_beyond_the_dtype_is_refused_by_the_module() -> None:
    error = refuse("concat", [(ONE, 1e6)], fields={"dtype": "F16"})
    assert error.kind == "tensor-not-finite"
    assert f"B of {Q}" in error.message
    assert "too large for F16" in error.message


RANDOM: list[tuple[str, dict[str, Any]]] = [
    ("dare", {"density": 0.5}),
    ("della", {"density": 0.5}),
    ("peft_dare_linear", {"density": 0.5}),
    ("mergekit_dare_linear", {"density": 0.5}),
]


@pytest.mark.parametrize(("method", "parameters"), RANDOM)
def test_masks_depend_on_the_seed_and_on_the_module_alone(
    method: str, parameters: dict[str, Any]
) -> None:
    other = {Q: factors(21, 12, 3, 10), V: factors(22, 7, 3, 9)}
    both = [(ONE, 0.7), (lora("team/other@9", other), 0.3)]
    whole = compose(method, both, seed=5, **parameters)
    # The same inputs without their other module.
    alone = [
        (lora("team/1@1", {V: FACTORS[1][V]}), 0.7),
        (lora("team/other@9", {V: other[V]}), 0.3),
    ]
    assert compose(method, alone, seed=5, **parameters)[V].tensors == whole[V].tensors
    assert compose(method, both, seed=6, **parameters)[V].tensors != whole[V].tensors


BYTES: list[tuple[str, dict[str, Any]]] = [
    ("concat", {}),
    ("sum", {"rank": 2}),
    ("karcher", {"rank": 2}),
    ("ties", {"density": 0.4}),
    ("peft_linear", {}),
    *RANDOM,
]


@pytest.mark.parametrize(("method", "parameters"), BYTES)
def test_one_thread_and_two_give_the_same_bytes(method: str, parameters: dict[str, Any]) -> None:
    # As many modules as it takes for two threads to get in each other's way.
    held = {f"layers.{n}.q_proj": factors(10 + n, 12, 4, 10) for n in range(12)}
    other = {f"layers.{n}.q_proj": factors(40 + n, 12, 4, 10) for n in range(12)}
    composition = plan(
        method, [(lora("a/a@1", held), 0.6), (lora("b/b@2", other), 0.4)], **parameters
    )
    expected = tensors_of(carry_out(composition, threads=1))
    assert tensors_of(carry_out(composition, threads=2)) == expected
    assert len(expected) == 24


@pytest.mark.parametrize("method", ["sum", "ties", "slerp"])
def test_delta_beyond_double_precision_is_refused_and_its_module_named(method: str) -> None:
    huge = {Q: (np.full((12, 3), 1e300), np.full((3, 10), 1e300))}
    inputs = [(lora("team/huge@1", huge, "F64"), 1.0), (TWO, 1.0)]
    parameters: dict[str, Any] = {"density": 0.5} if method == "ties" else {}
    with pytest.raises(InvalidInput, match="too large") as caught:
        carry_out(plan(method, inputs, None, None, **parameters))
    assert caught.value.kind == "tensor-not-finite"
    assert caught.value.details["module"] == Q


def test_dense_delta_that_cannot_be_squared_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too large to be squared"):
        recompress_dense(np.full((3, 4), 1e160), rank=1)
