"""The peft_* methods against PEFT's own `add_weighted_adapter`, and where PEFT is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.methods import find_combination, find_elementwise, find_factorwise
from plait.errors import InvalidInput
from reference.method_options import options_for, parameters_of, uniforms_of
from reference.peft_compositions import (
    SIZES,
    adapted_modules,
    add_weighted,
    chosen_masks,
    delta_of,
    factors_of,
    small_model,
    trained_model,
)

pytestmark = [
    pytest.mark.torch,
    # PEFT asks transformers for what that will rename.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

WEIGHTS = [
    {"one": 0.7, "two": 0.3},
    {"one": 1.0, "two": -1.0},
    {"one": -0.5, "two": 2.0},
    {"one": 0.4, "two": 0.4, "three": 0.4},
    {"one": 0.0, "two": 1.0},
]
FACTORWISE = [
    ("linear", {}),
    ("ties", {"density": 0.5}),
    ("ties", {"density": 0.3, "majority": "frequency"}),
    ("ties", {"density": 0.001}),
    ("magnitude_prune", {"density": 0.4}),
]
ELEMENTWISE = [(kind, options) for kind, options in FACTORWISE if kind != "linear"]
RANDOM = [
    ("dare_linear", {"density": 0.6}),
    ("dare_ties", {"density": 0.6}),
    ("dare_ties", {"density": 0.3, "majority": "frequency"}),
]


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    norm = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / (norm or 1.0)


def for_peft(options: dict[str, Any]) -> dict[str, Any]:
    """Name the options as PEFT does."""
    names = {"majority": "majority_sign_method", "density": "density", "rank": "svd_rank"}
    return {names[name]: value for name, value in options.items()}


def topk_by_index(values: Any, k: int, *, largest: bool) -> Any:
    """Stand in for `torch.topk`, which keeps any of equal values, of which bfloat16 has many."""
    import torch

    ordered = torch.sort(values, descending=largest, stable=True)
    return ordered.values[:k], ordered.indices[:k]


def three_adapters(weights: dict[str, float]) -> Any:
    return small_model({name: {} for name in weights})


def factors_by_plait(
    kind: str, layer: Any, weights: dict[str, float], **options: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    method = f"peft_{kind}"
    inputs = [factors_of(layer, name) for name in weights]
    combine = find_factorwise(method)
    return combine(inputs, list(weights.values()), options_for(method, **options))


def delta_by_plait(
    kind: str, layer: Any, weights: dict[str, float], **options: Any
) -> NDArray[Any]:
    method = f"peft_{kind}"
    deltas = np.stack([delta_of(layer, name) for name in weights])
    return find_elementwise(method)(deltas, list(weights.values()), options_for(method, **options))


def verify_factors(
    model: Any, kind: str, weights: dict[str, float], options: dict[str, Any]
) -> None:
    """Compare both factors of every module with those that PEFT makes."""
    outcome = add_weighted(model, kind, weights, **for_peft(options))
    for layer in adapted_modules(model).values():
        expected = factors_of(layer, outcome)
        assert expected.gamma == 1.0
        up, down = factors_by_plait(kind, layer, weights, **options)
        rank = down.shape[0]  # of the zeros with which PEFT fills up, below
        assert relative_error(up, expected.B[:, :rank]) < 1e-6
        assert relative_error(down, expected.A[:rank]) < 1e-6
        assert not np.any(expected.B[:, rank:])
        assert not np.any(expected.A[rank:])


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("kind", "options"), FACTORWISE)
def test_factors_are_those_of_peft(
    kind: str, options: dict[str, Any], weights: dict[str, float]
) -> None:
    model = three_adapters(weights)
    assert set(adapted_modules(model)) == set(SIZES)
    verify_factors(model, kind, weights, options)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("kind", "options"), RANDOM)
def test_factors_are_those_of_peft_with_equal_masks(
    kind: str,
    options: dict[str, Any],
    weights: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = three_adapters(weights)
    every_a = [2 * index for index in range(len(weights))]
    streams = [*every_a, *(stream + 1 for stream in every_a)] * len(SIZES)
    monkeypatch.setattr("torch.bernoulli", chosen_masks(uniforms_of(11), streams))
    verify_factors(model, kind, weights, options)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("kind", "options"), ELEMENTWISE)
def test_deltas_are_those_of_peft_at_full_rank(
    kind: str, options: dict[str, Any], weights: dict[str, float]
) -> None:
    model = three_adapters(weights)
    full = {**options, "rank": 16}
    outcome = add_weighted(model, f"{kind}_svd", weights, **for_peft(full))
    for name, layer in adapted_modules(model).items():
        expected = delta_of(layer, outcome)
        found = delta_by_plait(f"{kind}_svd", layer, weights, **options)
        assert found.shape == SIZES[name]
        assert relative_error(found, expected) < 5e-6  # PEFT's decomposition is in float32


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("kind", "options"), RANDOM)
def test_deltas_are_those_of_peft_at_full_rank_with_equal_masks(
    kind: str,
    options: dict[str, Any],
    weights: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One module, since PEFT has an embedding's delta, and so its mask, the other way round.
    model = small_model({name: {"target_modules": ["linear"]} for name in weights})
    monkeypatch.setattr("torch.bernoulli", chosen_masks(uniforms_of(11), range(len(weights))))
    outcome = add_weighted(model, f"{kind}_svd", weights, **for_peft({**options, "rank": 16}))
    layer = adapted_modules(model)["linear"]
    found = delta_by_plait(f"{kind}_svd", layer, weights, **options)
    assert relative_error(found, delta_of(layer, outcome)) < 5e-6


@pytest.mark.parametrize("weights", WEIGHTS)
def test_svd_is_the_weighted_sum_of_deltas(weights: dict[str, float]) -> None:
    model = three_adapters(weights)
    outcome = add_weighted(model, "svd", weights, svd_rank=16)
    for layer in adapted_modules(model).values():
        deltas = [delta_of(layer, name) for name in weights]
        found = find_combination("peft_svd")(
            lambda: pytest.fail("no inner products are needed"),
            list(weights.values()),
            parameters_of("peft_svd"),
        )
        total = sum(c * delta for c, delta in zip(found, deltas, strict=True))
        assert relative_error(np.asarray(total), delta_of(layer, outcome)) < 5e-6


def test_svd_keeps_the_largest_rank_of_the_inputs_by_default() -> None:
    weights = {"one": 0.7, "two": 0.3}
    model = small_model({"one": {"r": 4}, "two": {"r": 7}})
    outcome = add_weighted(model, "svd", weights)
    layer = adapted_modules(model)["linear"]
    total = 0.7 * delta_of(layer, "one") + 0.3 * delta_of(layer, "two")
    left, values, right = np.linalg.svd(total)
    assert relative_error((left[:, :7] * values[:7]) @ right[:7], delta_of(layer, outcome)) < 5e-6


@pytest.mark.parametrize("weights", WEIGHTS)
def test_cat_has_the_factors_of_peft_before_its_zeros(weights: dict[str, float]) -> None:
    ranks = {"one": 3, "two": 5, "three": 2}
    model = small_model({name: {"r": ranks[name], "rank_pattern": {"conv": 2}} for name in weights})
    verify_factors(model, "cat", weights, {})
    widest = factors_of(adapted_modules(model)["conv"], "outcome").rank
    assert widest == sum(ranks[name] for name in weights) > 2 * len(weights)


@pytest.mark.parametrize("kind", ["linear", "ties", "cat", "magnitude_prune", "dare_ties"])
@pytest.mark.parametrize("weight", [0.3, -2.0])
def test_one_adapter_is_only_scaled_as_by_peft(kind: str, weight: float) -> None:
    model = small_model({"one": {}})
    outcome = add_weighted(model, kind, {"one": weight}, density=0.2)
    options = {name: 0.2 for name in parameters_of(f"peft_{kind}") if name == "density"}
    for layer in adapted_modules(model).values():
        expected = factors_of(layer, outcome)
        up, down = factors_by_plait(kind, layer, {"one": weight}, **options)
        assert relative_error(up, expected.B) < 1e-6
        assert relative_error(down, expected.A) < 1e-6
        assert relative_error(up @ down, weight * delta_of(layer, "one")) < 1e-6


def test_one_adapter_keeps_all_elements_of_its_delta_as_in_peft() -> None:
    model = small_model({"one": {}})
    outcome = add_weighted(model, "ties_svd", {"one": -0.5}, density=0.2)
    layer = adapted_modules(model)["linear"]
    found = delta_by_plait("ties_svd", layer, {"one": -0.5}, density=0.2)
    assert relative_error(found, delta_of(layer, outcome)) < 1e-6


@pytest.mark.parametrize(
    ("kind", "options"), [*FACTORWISE, ("cat", {}), ("dare_linear", {"density": 1.0})]
)
@pytest.mark.filterwarnings("ignore:The density 1.0 is greater than or equal to 1")
def test_modules_that_an_adapter_lacks_are_passed_over_as_by_peft(
    kind: str, options: dict[str, Any]
) -> None:
    weights = {"one": 0.7, "two": 0.3}
    model = small_model(
        {"one": {"target_modules": ["linear", "embed"]}, "two": {"target_modules": ["linear"]}}
    )
    verify_factors(model, kind, weights, options)


def test_a_delta_that_is_lacking_counts_as_zero_with_the_numbers_of_peft() -> None:
    weights = {"one": 0.7, "two": 0.3}
    model = small_model(
        {"one": {"target_modules": ["linear", "embed"]}, "two": {"target_modules": ["linear"]}}
    )
    outcome = add_weighted(model, "ties_svd", weights, density=0.4, svd_rank=16)
    layer = adapted_modules(model)["embed"]
    found = delta_by_plait("ties_svd", layer, weights, density=0.4)
    assert relative_error(found, delta_of(layer, outcome)) < 5e-6


@pytest.mark.parametrize(
    ("kind", "options"),
    [*FACTORWISE, ("dare_linear", {"density": 1.0}), ("dare_ties", {"density": 1.0}), ("cat", {})],
)
@pytest.mark.filterwarnings("ignore:The density 1.0 is greater than or equal to 1")
def test_trained_adapters_give_the_factors_of_peft(
    kind: str, options: dict[str, Any], micro_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.topk", topk_by_index)
    folders = {"one": micro_data / "adapters/cpp/v3", "two": micro_data / "adapters/cpp/v1"}
    model = trained_model(micro_data / "base", folders)
    assert len(adapted_modules(model)) > 10
    verify_factors(model, kind, {"one": 0.6, "two": -0.4}, options)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options"), [ELEMENTWISE[0], ELEMENTWISE[-1]])
def test_trained_adapters_give_the_deltas_of_peft(
    kind: str, options: dict[str, Any], micro_data: Path
) -> None:
    weights = {"one": 0.6, "two": -0.4}
    folders = {"one": micro_data / "adapters/cpp/v3", "two": micro_data / "adapters/prose/v2"}
    model = trained_model(micro_data / "base", folders)
    full = {**options, "rank": 128}
    outcome = add_weighted(model, f"{kind}_svd", weights, svd_full_matrices=False, **for_peft(full))
    for layer in adapted_modules(model).values():
        found = delta_by_plait(f"{kind}_svd", layer, weights, **options)
        assert relative_error(found, delta_of(layer, outcome)) < 5e-6


def test_adapters_of_the_zoo_give_the_factors_of_peft(zoo_data: Path) -> None:
    names = {"one": "client-0", "two": "client-3", "three": "poisoned"}
    model = trained_model(
        zoo_data / "base", {name: zoo_data / "federated" / folder for name, folder in names.items()}
    )
    weights = {"one": 0.5, "two": 0.5, "three": -0.2}
    verify_factors(model, "ties", weights, {"density": 0.7})


def test_ranks_that_differ_are_refused_where_peft_cannot_add_factors() -> None:
    weights = {"one": 0.7, "two": 0.3}
    model = small_model({"one": {"r": 4}, "two": {"r": 5}})
    with pytest.raises(ValueError, match="same r value"):
        add_weighted(model, "linear", weights)
    with pytest.raises(InvalidInput, match="must have one rank") as caught:
        factors_by_plait("linear", adapted_modules(model)["linear"], weights)
    assert caught.value.kind == "rank-invalid"
    assert caught.value.details["ranks"] == [4, 5]


def test_one_weight_counts_for_a_rslora_as_the_gamma_that_peft_forgets() -> None:
    model = small_model({"one": {"use_rslora": True}, "two": {"use_rslora": True}})
    outcome = add_weighted(model, "linear", {"one": 0.7, "two": 0.3})
    layer = adapted_modules(model)["linear"]
    up, down = factors_by_plait("linear", layer, {"one": 0.7, "two": 0.3})
    made_by_peft = factors_of(layer, outcome)
    assert relative_error(up, made_by_peft.B) < 1e-6  # the same factors
    assert relative_error(down, made_by_peft.A) < 1e-6
    assert made_by_peft.gamma == pytest.approx(4**0.5)  # which PEFT then makes sqrt(r) too large
    assert relative_error(delta_of(layer, outcome), 2 * (up @ down)) < 1e-6


@pytest.mark.parametrize("kind", ["linear", "cat", "svd"])
def test_one_rslora_is_scaled_right_and_by_peft_wrong(kind: str) -> None:
    model = small_model({"one": {"use_rslora": True}})
    outcome = add_weighted(model, kind, {"one": 1.0})
    layer = adapted_modules(model)["linear"]
    meant = delta_of(layer, "one")
    assert relative_error(delta_of(layer, outcome), 2.0 * meant) < 1e-6
    if kind != "svd":
        up, down = factors_by_plait(kind, layer, {"one": 1.0})
        assert relative_error(up @ down, meant) < 1e-6


def test_peft_forgets_the_biases_of_lora() -> None:
    model = small_model(
        {name: {"lora_bias": True, "target_modules": ["linear"]} for name in ("one", "two")}
    )
    outcome = add_weighted(model, "cat", {"one": 0.7, "two": 0.3})
    layer = adapted_modules(model)["linear"]
    biases = [layer.lora_B[name].bias.detach().double().numpy() for name in ("one", "two")]
    meant = 0.7 * layer.scaling["one"] * biases[0] + 0.3 * layer.scaling["two"] * biases[1]
    assert np.linalg.norm(meant) > 0.1
    assert not np.any(layer.lora_B[outcome].bias.detach().numpy())


def test_peft_forgets_the_magnitudes_of_dora() -> None:
    import torch

    model = small_model(
        {name: {"use_dora": True, "target_modules": ["linear"]} for name in ("one", "two")}
    )
    outcome = add_weighted(model, "svd", {"one": 1.0, "two": 0.0}, svd_rank=16)
    layer = adapted_modules(model)["linear"]
    base = layer.get_base_layer().weight.detach()
    with torch.no_grad():
        meant = layer.lora_magnitude_vector["one"].weight
        made = layer.lora_magnitude_vector[outcome].weight
        # What DoRA begins with, before any training: the norms of the base's own rows.
        assert torch.allclose(made, torch.linalg.norm(base, dim=1))
        assert float((made - meant).abs().max()) > 0.1


def test_factors_are_new_arrays_and_inputs_stay_as_they_are() -> None:
    model = small_model({"one": {}, "two": {}})
    layer = adapted_modules(model)["linear"]
    before = [factors_of(layer, name).A.copy() for name in ("one", "two")]
    up, down = factors_by_plait("ties", layer, {"one": 0.7, "two": 0.3}, density=0.5)
    down[:] = up[:] = 0
    after = [factors_of(layer, name).A for name in ("one", "two")]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
