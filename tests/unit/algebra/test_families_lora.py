from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.adapter_folder import open_adapter, open_base
from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import (
    Delta,
    DeltaOfShape,
    Dense,
    FunctionOfBase,
    LowRank,
    ModuleChange,
    ModuleKind,
    NoDelta,
    Placement,
)
from plait.algebra.dense_delta import multiply_out
from plait.algebra.families import pissa, read_changes
from plait.algebra.families.dora import row_norms
from plait.algebra.families.resolve import resolve
from plait.errors import InvalidInput
from plait.model.adapter_families import BOTTLENECK, FAMILIES, Effect
from reference.adapters import LABEL, adapter_of
from reference.dora import rescale

MODULE = "layers.0.q_proj"
PREFIX = f"base_model.model.{MODULE}."
RNG = np.random.default_rng(11)
A, B = RNG.standard_normal((2, 7)), RNG.standard_normal((5, 2))
W = RNG.standard_normal((5, 7))


def lora(parts: dict[str, Any] | None = None, **config: Any) -> AdapterTensors:
    tensors = {"lora_A.weight": A, "lora_B.weight": B} if parts is None else parts
    return adapter_of(
        {f"{PREFIX}{part}": values for part, values in tensors.items()},
        **{"peft_type": "LORA", "r": 2, "lora_alpha": 4, **config},
    )


def plain(**others: Any) -> dict[str, Any]:
    return {"lora_A.weight": A, "lora_B.weight": B, **others}


def change_of(adapter: AdapterTensors) -> ModuleChange:
    return read_changes(adapter)[MODULE]


def low_rank(delta: Delta | None) -> LowRank:
    assert isinstance(delta, LowRank)
    return delta


def no_delta(delta: Delta | None) -> NoDelta:
    assert isinstance(delta, NoDelta)
    return delta


def test_factors_are_kept_as_they_were_saved() -> None:
    tensors = {"lora_A.weight": A.astype(np.float32), "lora_B.weight": B.astype(np.float32)}
    delta = low_rank(change_of(lora(tensors)).delta)
    assert delta.A.dtype == delta.B.dtype == np.float32
    assert np.array_equal(delta.A, tensors["lora_A.weight"])
    assert np.array_equal(delta.B, tensors["lora_B.weight"])
    assert (delta.gamma, delta.shape, delta.rank) == (2.0, (5, 7), 2)


def test_patterns_and_rslora_decide_the_factor() -> None:
    patterns: dict[str, Any] = {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"0.q_proj": 3},
        "r": 9,
    }
    assert low_rank(change_of(lora(**patterns)).delta).gamma == 1.5
    assert low_rank(change_of(lora(use_rslora=True)).delta).gamma == 4 / np.sqrt(2)


def test_an_embedding_and_a_convolution_say_what_they_are() -> None:
    embedding = {"lora_embedding_A": A, "lora_embedding_B": B}
    placement = low_rank(change_of(lora(embedding, fan_in_fan_out=True)).delta).placement
    assert (placement.kind, placement.is_transposed) == (ModuleKind.EMBEDDING, True)
    convolution = {"lora_A.weight": np.ones((2, 3, 2, 4)), "lora_B.weight": B[..., None, None]}
    delta = low_rank(change_of(lora(convolution)).delta)
    assert (delta.placement.kind, delta.placement.kernel) == (ModuleKind.CONV, (2, 4))
    assert (delta.shape, delta.placement.is_transposed) == ((5, 24), False)


def test_a_linear_module_is_stored_as_the_configuration_says() -> None:
    assert low_rank(change_of(lora(fan_in_fan_out=True)).delta).placement.is_transposed
    assert not low_rank(change_of(lora()).delta).placement.is_transposed


def test_a_bias_of_b_is_scaled_like_the_delta() -> None:
    change = change_of(lora(plain(**{"lora_B.bias": [1.0, 2, 3, 4, 5]}), lora_bias=True))
    assert low_rank(change.delta).gamma == 2
    assert change.bias is not None
    assert change.bias.tolist() == [2, 4, 6, 8, 10]


def test_adalora_scales_by_the_rank_it_began_with_and_weighs_each() -> None:
    tensors = {"lora_A": A, "lora_B": B, "lora_E": [[0.5], [-3.0]]}
    delta = low_rank(change_of(lora(tensors, peft_type="ADALORA", init_r=2)).delta)
    assert delta.gamma == 4 / (2 + 1e-5)
    assert np.array_equal(delta.A, A * [[0.5], [-3.0]])


def test_whole_tensors_and_copies_are_replacements_whatever_the_family() -> None:
    tensors = plain(**{"base_layer.weight": W, "base_layer.bias": W[0]})
    adapter = lora(tensors, modules_to_save=["bn"])
    names = ["bn.weight", "layers.0.bn.running_mean", "norm.bias"]
    others = adapter_of({f"base_model.model.{name}": [1.0] for name in names}, peft_type="LORA")
    both = replace(adapter, kinds={**adapter.kinds, **others.kinds})
    changes = read_changes(both)
    assert list(changes) == ["bn", "layers.0.bn", MODULE, "norm"]
    assert set(changes[MODULE].replacements) == {"base_layer.weight", "base_layer.bias"}
    assert changes[MODULE].names == {f"{PREFIX}lora_A.weight", f"{PREFIX}lora_B.weight"}
    assert changes["layers.0.bn"].delta is None
    assert changes["layers.0.bn"].replacements == {
        "running_mean": "base_model.model.layers.0.bn.running_mean"
    }
    assert set(changes["norm"].replacements) == {"bias"}


def test_trained_tokens_are_no_delta() -> None:
    tensors = {"token_adapter.trainable_tokens_delta": W}
    delta = no_delta(change_of(lora(tensors, trainable_token_indices=[1])).delta)
    assert delta.effect is Effect.REPLACEMENT
    alone = {"trainable_tokens_delta": W}
    assert no_delta(change_of(lora(alone, peft_type="TRAINABLE_TOKENS")).delta) == delta


@pytest.mark.parametrize(
    ("tensors", "config", "expected"),
    [
        (plain(), {"use_qalora": True}, "QA-LoRA's factors work on pooled inputs"),
        (plain(), {"use_bdlora": {"n": 2}}, "block-diagonal"),
        (plain(), {"target_parameters": ["q_proj.weight"]}, "parameters of experts"),
        (plain(), {"alora_invocation_tokens": [1]}, "aLoRA"),
        (plain(), {"arrow_config": {"top_k": 2}}, "Arrow"),
        (plain(), {"layer_replication": [[0, 2], [1, 2]]}, "replicated"),
        (plain(), {"init_lora_weights": "olora"}, "OLoRA took a part"),
        (plain(), {"init_lora_weights": "corda"}, "CorDA took a part"),
        (plain(), {"init_lora_weights": "loftq"}, "LoftQ took a part"),
        (plain(), {"init_lora_weights": "lora_ga"}, "LoRA-GA took a part"),
        (plain(), {"init_lora_weights": "pissa_niter_16"}, "a random search (pissa_niter_16)"),
        (
            plain(**{"lora_B.bias": np.ones(5), "lora_magnitude_vector": np.ones(5)}),
            {"use_dora": True, "lora_bias": True},
            "a bias beside DoRA",
        ),
        (
            {"lora_A.weight": np.ones((4, 3, 1)), "lora_B.weight": np.ones((8, 2, 1))},
            {"r": 4},
            "a convolution in groups",
        ),
        (plain(lora_new=W), {}, "a tensor 'lora_new' that plait does not know"),
        (plain(), {"peft_type": "GLORA"}, "does not compute what GLoRA"),
        (plain(), {"peft_type": "NEXT_YEARS"}, "does not compute what NEXT_YEARS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_delta_says_why(
    tensors: dict[str, Any], config: dict[str, Any], expected: str
) -> None:
    adapter = lora(tensors, **config)
    change = change_of(adapter)
    assert expected in no_delta(change.delta).reason
    assert change.bias is None
    assert change.names == adapter.kinds.keys()
    with pytest.raises(InvalidInput, match=MODULE) as caught:
        resolve(LABEL, change, lambda: W)
    assert caught.value.kind == "delta-missing"
    assert expected in caught.value.message
    assert LABEL in caught.value.message


@pytest.mark.parametrize("peft_type", FAMILIES)
def test_no_family_makes_a_delta_of_a_tensor_that_it_does_not_know(peft_type: str) -> None:
    config = {"reduction_factor": 2, "non_linearity": "relu", "peft_type": peft_type}
    if peft_type == BOTTLENECK:
        del config["peft_type"]
    adapter = adapter_of({f"{PREFIX}lora_from_elsewhere": W}, **config)
    with suppress(InvalidInput):  # some say so by an error
        assert no_delta(change_of(adapter).delta).reason


def test_factors_whose_base_is_not_to_be_had_can_still_be_compared() -> None:
    for config in ({"init_lora_weights": "olora"}, {"alora_invocation_tokens": [1]}):
        product = no_delta(change_of(lora(**config)).delta).product
        assert product is not None
        assert product.gamma == 2


BAD_VALUES = {
    "lora_A.weight": A,
    "lora_B.weight": B,
    "lora_B.bias": np.ones(5),
    "lora_magnitude_vector": np.ones(5),
    "lora_diag": np.ones(2),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", BAD_VALUES)
def test_a_number_that_is_none_is_refused_by_label_module_and_tensor(
    part: str, value: float
) -> None:
    bad = np.array(BAD_VALUES[part])
    bad.flat[-1] = value
    config: dict[str, Any] = {"lora_magnitude_vector": {"use_dora": True}}.get(part, {})
    changes = read_changes(lora(plain(**{part: bad}), **config))
    with pytest.raises(InvalidInput) as caught:
        changes[MODULE]
    assert caught.value.kind == "tensor-not-finite"
    for text in (LABEL, MODULE, f"{PREFIX}{part}"):
        assert text in caught.value.message


@pytest.mark.parametrize(
    ("tensors", "config", "expected"),
    [
        (plain(), {"r": 3}, "its factors have rank 2, and the configuration says 3"),
        (plain(), {"rank_pattern": {"q_proj": 8}}, "rank 2, and the configuration says 8"),
        ({"lora_A.weight": A, "lora_B.weight": B[:, :1]}, {}, r"(5, 1) and (2, 7) have no product"),
        ({"lora_A.weight": A[0], "lora_B.weight": B}, {}, "have no product"),
        ({"lora_A.weight": A}, {}, "no pair of A and B factors"),
        (plain(lora_diag=[1.0]), {}, "its diagonal has 1 numbers and its rank is 2"),
        (plain(**{"lora_B.bias": [1.0] * 4}), {}, "its bias of (4,) has no 5 numbers"),
        (plain(), {"use_dora": True}, "there is no lora_magnitude_vector"),
        (plain(lora_magnitude_vector=np.ones(7)), {"use_dora": True}, "7 numbers for 5 rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_that_do_not_fit_are_refused_by_label_and_module(
    tensors: dict[str, Any], config: dict[str, Any], expected: str
) -> None:
    changes = read_changes(lora(tensors, **config))
    with pytest.raises(InvalidInput) as caught:
        changes[MODULE]
    assert caught.value.kind == "shape-mismatch"
    for text in (LABEL, MODULE, expected):
        assert text in caught.value.message


def test_a_pattern_that_is_none_is_refused_by_label_and_module() -> None:
    changes = read_changes(lora(rank_pattern={"(": 2}))
    with pytest.raises(InvalidInput) as caught:
        changes[MODULE]
    assert caught.value.kind == "invalid-adapter-config"
    assert caught.value.message.startswith(f"{LABEL}, module {MODULE}: The pattern '('")


def test_modules_are_known_before_anything_is_read() -> None:
    seen: list[str] = []
    adapter = lora()
    other = f"base_model.model.{MODULE}2.lora_A.weight"

    def read(name: str) -> Any:
        seen.append(name)
        return adapter.read(name)

    kinds = {**adapter.kinds, other: adapter.kinds[f"{PREFIX}lora_A.weight"]}
    changes = read_changes(replace(adapter, kinds=kinds, read=read))
    assert list(changes) == [MODULE, f"{MODULE}2"]
    assert len(changes) == 2
    assert MODULE in changes
    assert "layers.1.q_proj" not in changes
    assert seen == []
    assert changes[MODULE].delta is not None
    assert sorted(seen) == sorted(adapter.kinds)
    with pytest.raises(KeyError):
        changes["layers.1.q_proj"]


def test_what_all_modules_share_is_read_once() -> None:
    tensors: dict[str, Any] = {"base_model.vera_A": np.eye(2), "base_model.vera_B": np.eye(2)}
    for layer in range(3):
        for part in ("b", "d"):
            tensors[f"base_model.model.layers.{layer}.q.vera_lambda_{part}"] = [1.0, 2.0]
    adapter = adapter_of(tensors, peft_type="VERA", r=2)
    seen: list[str] = []

    def read(name: str) -> Any:
        seen.append(name)
        return adapter.read(name)

    changes = read_changes(replace(adapter, read=read))
    assert [changes[module].delta is not None for module in changes] == [True] * 3
    assert len(seen) == len(set(seen)) == len(tensors)
    assert changes["layers.0.q"].names >= {"base_model.vera_A", "base_model.vera_B"}


def adapters_in(folder: Path) -> Iterator[AdapterTensors]:
    for path in sorted((folder / "adapters").rglob("adapter_config.json")):
        yield open_adapter(path.parent.name, path.parent)


def test_every_tensor_of_every_trained_adapter_is_accounted_for(
    zoo_data: Path, micro_data: Path
) -> None:
    adapters = [*adapters_in(zoo_data), *adapters_in(micro_data)]
    assert len(adapters) > 25
    for adapter in adapters:
        changes = read_changes(adapter).values()
        told = {name for change in changes for name in change.names}
        told |= {name for change in changes for name in change.replacements.values()}
        assert told == adapter.kinds.keys()
        effects = {type(change.delta) for change in changes}
        assert (
            effects != {NoDelta}
            or adapter.config.effect is Effect.FORWARD_ONLY
            or (adapter.config.base_changing_init is not None)
        )


def dora(**config: Any) -> AdapterTensors:
    magnitudes = np.linspace(0.5, 2, 5)
    return lora(plain(lora_magnitude_vector=magnitudes), use_dora=True, **config)


def test_dora_has_the_bits_of_its_definition() -> None:
    a, b = RNG.standard_normal((2, 700)), RNG.standard_normal((5, 2))
    weight, magnitudes = RNG.standard_normal((5, 700)), np.linspace(0.5, 2, 5)
    tensors = {"lora_A.weight": a, "lora_B.weight": b, "lora_magnitude_vector": magnitudes}
    change = change_of(lora(tensors, use_dora=True))
    assert isinstance(change.delta, FunctionOfBase)
    assert change.delta.product is not None
    expected = rescale(weight, multiply_out(change.delta.product), magnitudes)
    assert np.array_equal(change.delta.apply(weight), expected)
    resolved = resolve(LABEL, change, lambda: weight)
    assert isinstance(resolved, Dense)
    assert np.array_equal(resolved.compute(), expected - weight)


def test_row_norms_are_those_of_the_rows() -> None:
    matrix = RNG.standard_normal((3, 1000)) * [[1e-3], [1], [1e6]]
    assert row_norms(matrix) == pytest.approx(np.linalg.norm(matrix, axis=1), rel=1e-14)
    assert row_norms(np.zeros((2, 5))).tolist() == [0, 0]


def test_dora_takes_the_weight_as_the_base_stores_it() -> None:
    straight = resolve(LABEL, change_of(dora()), lambda: W)
    turned = resolve(LABEL, change_of(dora(fan_in_fan_out=True)), lambda: W.T)
    assert isinstance(straight, Dense)
    assert isinstance(turned, Dense)
    assert np.array_equal(straight.compute(), turned.compute())


def test_a_weight_is_read_only_when_its_delta_is_computed() -> None:
    reads: list[int] = []

    def weight() -> Any:
        reads.append(1)
        return W

    delta = resolve(LABEL, change_of(lora()), weight)
    assert isinstance(delta, LowRank)
    assert reads == []


@pytest.mark.parametrize(
    ("weight", "kind", "expected"),
    [
        (None, "delta-missing", "depends on the base's weight"),
        (lambda: W[:, :6], "shape-mismatch", r"is (5, 6); its delta is (5, 7)"),
        (lambda: W.T, "shape-mismatch", r"is (7, 5); its delta is (5, 7)"),
        (lambda: W[0], "shape-mismatch", "is (7,), which is no matrix"),
        (lambda: W * np.nan, "tensor-not-finite", "The base's weight"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(weight: Any, kind: str, expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        resolve(LABEL, change_of(dora()), weight)
    assert caught.value.kind == kind
    assert expected in caught.value.message
    assert MODULE in caught.value.message


def test_dora_refuses_a_row_that_it_cannot_rescale() -> None:
    change = change_of(dora())
    assert isinstance(change.delta, FunctionOfBase)
    weight = W.copy()
    weight[3] = -multiply_out(low_rank(change.delta.product))[3]
    delta = resolve(LABEL, change, lambda: weight)
    assert isinstance(delta, Dense)
    with pytest.raises(InvalidInput, match="Row 3") as caught:
        delta.compute()
    assert LABEL in caught.value.message
    assert MODULE in caught.value.message


def test_a_function_of_any_weight_gets_a_convolution_as_it_is_stored() -> None:
    weight = RNG.standard_normal((4, 3, 2, 2))
    seen: list[tuple[int, ...]] = []

    def double(values: Any) -> Any:
        seen.append(values.shape)
        return values * 2

    function = FunctionOfBase(apply=double, shape=(4, None), rank=1, placement=Placement())
    delta = resolve(LABEL, ModuleChange(module=MODULE, delta=function), lambda: weight)
    assert isinstance(delta, Dense)
    assert (delta.placement.kind, delta.placement.kernel) == (ModuleKind.CONV, (2, 2))
    assert delta.shape == (4, 12)
    assert np.array_equal(delta.compute(), weight.reshape(4, 12))
    assert seen == [weight.shape]


@pytest.mark.parametrize(
    ("placement", "stored", "expected"),
    [
        (Placement(), (5, 7), (5, 7)),
        (Placement(fan_in_fan_out=True), (7, 5), (5, 7)),
        (Placement(kind=ModuleKind.EMBEDDING), (30, 4), (4, 30)),
        (Placement(kind=ModuleKind.CONV), (5, 7, 3), (5, 21)),
    ],
)
def test_a_delta_of_the_bases_shape_is_told_it_as_the_adapter_sees_it(
    placement: Placement, stored: tuple[int, ...], expected: tuple[int, int]
) -> None:
    def give(shape: tuple[int, int]) -> LowRank:
        return LowRank(
            B=np.ones((shape[0], 1)), A=np.ones((1, shape[1])), gamma=1.0, placement=placement
        )

    change = ModuleChange(
        module=MODULE, delta=DeltaOfShape(given=give, rank=1, placement=placement)
    )
    assert low_rank(resolve(LABEL, change, lambda: np.ones(stored))).shape == expected
    with pytest.raises(InvalidInput, match="depends on the base"):
        resolve(LABEL, change, None)


def test_a_module_that_is_saved_whole_has_no_delta_to_resolve() -> None:
    with pytest.raises(InvalidInput, match="it is saved whole") as caught:
        resolve(LABEL, change_of(lora({"weight": W})), lambda: W)
    assert caught.value.kind == "delta-missing"


def test_an_adapter_of_pissa_is_a_low_rank_delta_of_twice_its_rank() -> None:
    change = change_of(lora(init_lora_weights="pissa"))
    assert isinstance(change.delta, FunctionOfBase)
    assert change.delta.rank == 4
    delta = low_rank(resolve(LABEL, change, lambda: W))
    u, s, v = np.linalg.svd(W)
    expected = 2 * B @ A - (u[:, :2] * s[:2]) @ v[:2]
    np.testing.assert_allclose(multiply_out(delta), expected, atol=1e-13)
    assert (delta.rank, delta.gamma) == (4, 1.0)
    np.testing.assert_allclose(change.delta.apply(W), W + expected, atol=1e-13)


def test_the_principal_part_of_trained_weights_is_exact(zoo_data: Path) -> None:
    changes = read_changes(open_adapter("pissa", zoo_data / "adapters" / "prose-pissa"))
    base = open_base(zoo_data / "base")
    for module in list(changes)[:4]:
        product = no_delta(changes[module].delta).product
        assert product is not None
        found = pissa.find_change("pissa", product)
        assert isinstance(found, FunctionOfBase)
        assert found.find_factors is not None
        weight = base.read_weight(module).astype(np.float64)
        u, s, v = np.linalg.svd(weight, full_matrices=False)
        expected = multiply_out(product) - (u[:, :8] * s[:8]) @ v[:8]
        delta = multiply_out(found.find_factors(weight))
        assert np.linalg.norm(delta - expected) < 1e-10 * np.linalg.norm(expected)


def test_kasa_cuts_the_smallest_directions_and_adds_its_own() -> None:
    change = change_of(lora(plain(lora_diag=[2.0, -1.0]), kasa_config={"beta": 1}))
    delta = resolve(LABEL, change, lambda: W)
    assert isinstance(delta, Dense)
    u, s, v = np.linalg.svd(W, full_matrices=False)
    cut = (u[:, :3] * s[:3]) @ v[:3]
    expected = cut + 2 * B @ np.diag([2.0, -1.0]) @ A - W
    np.testing.assert_allclose(delta.compute(), expected, atol=1e-13)


def test_a_configuration_of_kohya_tensors_is_not_taken_for_peft() -> None:
    names = [f"lora_unet_down_0.{part}" for part in ("alpha", "lora_down.weight", "lora_up.weight")]
    adapter = adapter_of({name: [[1.0]] for name in names}, peft_type="LORA", r=1)
    with pytest.raises(InvalidInput, match="no pair of A and B factors"):
        read_changes(adapter)["lora_unet_down_0"]
