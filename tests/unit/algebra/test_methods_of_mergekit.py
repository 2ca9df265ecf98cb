"""The mergekit_* methods against mergekit itself, and how its whole weights reduce to deltas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.methods import find_combination, find_elementwise
from plait.errors import InvalidInput, PlaitError
from plait.model.recipe_methods import METHODS, MethodKind
from reference.mergekit_merging import (
    delta_by_mergekit,
    merge_by_mergekit,
    random_base,
    random_deltas,
)
from reference.method_options import options_for, parameters_of, uniforms_of
from reference.peft_compositions import (
    adapted_modules,
    chosen_masks,
    delta_of,
    factors_of,
    trained_model,
)

pytest.importorskip("mergekit", reason="make setup-dev installs mergekit")
pytestmark = pytest.mark.torch

SHAPE = (40, 50)
WIDE = (300, 130)
"""More than one block of elements, and several of rows."""
WEIGHTS = [[0.7, 0.3], [1.0, -0.4], [1.0, -1.0], [0.5, 0.5, 0.5], [2.0], [0.3, 0.0, 0.9]]
PRUNED = [
    ("ties", {"density": 0.4}),
    ("ties", {"density": 0.4, "normalize": False, "scale": 0.5}),
    ("ties", {"density": 0.3, "rescale": True}),
    ("ties", {"density": 1.0}),
    ("ties", {"density": 1e-6}),
    ("breadcrumbs", {"density": 0.6, "gamma": 0.1}),
    ("breadcrumbs", {"density": 0.95, "gamma": 0.2}),
    ("breadcrumbs", {"density": 0.6, "rescale": True, "normalize": True}),
    ("breadcrumbs_ties", {"density": 0.6, "gamma": 0.1}),
]
DRAWN = [
    ("dare_linear", {"density": 0.5}),
    ("dare_linear", {"density": 0.5, "rescale": False, "normalize": True}),
    ("dare_ties", {"density": 0.5, "scale": 2.0}),
    ("dare_ties", {"density": 0.2, "normalize": True}),
    ("della_linear", {"density": 0.5, "epsilon": 0.2}),
    ("della_linear", {"density": 0.7, "rescale": False}),
    ("della", {"density": 0.5}),
    ("della", {"density": 0.3, "epsilon": 0.1, "normalize": False, "scale": 0.7}),
]


def by_plait(
    method: str,
    deltas: NDArray[Any],
    weights: list[float],
    placed: dict[str, Any] | None = None,
    **options: Any,
) -> NDArray[Any]:
    """Return the outcome of a method of either kind."""
    name = f"mergekit_{method}"
    if METHODS[name].kind is MethodKind.ELEMENTWISE:
        return find_elementwise(name)(deltas, weights, options_for(name, placed=placed, **options))
    flat = deltas.reshape(len(deltas), -1)
    found = find_combination(name)(lambda: flat @ flat.T, weights, parameters_of(name, **options))
    return np.asarray(np.tensordot(np.array(found), deltas, 1))


def for_mergekit(weights: list[float], options: dict[str, Any]) -> dict[str, Any]:
    """Name the options as mergekit does."""
    names = {"scale": "lambda", "iterations": "max_iter", "tolerance": "tol"}
    return {"weight": weights, **{names.get(name, name): v for name, v in options.items()}}


def verify_equal(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("method", "options"), PRUNED)
def test_pruned_deltas_are_merged_as_by_mergekit(
    method: str, options: dict[str, Any], weights: list[float]
) -> None:
    base, deltas = random_base(SHAPE), random_deltas(len(weights), SHAPE)
    expected = delta_by_mergekit(method, base, deltas, **for_mergekit(weights, options))
    assert np.any(expected)
    verify_equal(by_plait(method, deltas, weights, **options), expected, 1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("method", "options"), DRAWN)
def test_drawn_deltas_are_merged_as_by_mergekit_with_equal_masks(
    method: str,
    options: dict[str, Any],
    weights: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.bernoulli", chosen_masks(uniforms_of(11), range(len(weights))))
    base, deltas = random_base(SHAPE), random_deltas(len(weights), SHAPE)
    expected = delta_by_mergekit(method, base, deltas, **for_mergekit(weights, options))
    # mergekit draws and rescales in float32, whatever the weights are in.
    verify_equal(by_plait(method, deltas, weights, **options), expected, 1e-6)


@pytest.mark.parametrize(
    ("method", "options"), [PRUNED[0], PRUNED[5], DRAWN[2], DRAWN[6], ("task_arithmetic", {})]
)
def test_tensors_of_several_blocks_are_merged_as_by_mergekit(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.bernoulli", chosen_masks(uniforms_of(11), range(2)))
    base, deltas = random_base(WIDE), random_deltas(2, WIDE)
    expected = delta_by_mergekit(method, base, deltas, **for_mergekit([0.6, 0.5], options))
    verify_equal(by_plait(method, deltas, [0.6, 0.5], **options), expected, 1e-6)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_trained_adapters_merged_into_their_base_give_the_numbers_of_mergekit(
    micro_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"one": micro_data / "adapters/cpp/v3", "two": micro_data / "adapters/prose/v2"}
    model = trained_model(micro_data / "base", folders)
    weights = [0.7, 0.4]
    for layer in adapted_modules(model).values():
        base = layer.get_base_layer().weight.detach().double().numpy()
        deltas = np.stack([delta_of(layer, name) for name in folders])
        cases: list[tuple[str, dict[str, Any]]] = [PRUNED[0], PRUNED[5], DRAWN[2], DRAWN[6]]
        for method, options in cases:
            masks = chosen_masks(uniforms_of(11), range(2))
            monkeypatch.setattr("torch.bernoulli", masks)
            expected = delta_by_mergekit(method, base, deltas, **for_mergekit(weights, options))
            verify_equal(by_plait(method, deltas, weights, **options), expected, 1e-6)
        expected = delta_by_mergekit("multislerp", base, deltas, weight=weights)
        verify_equal(by_plait("multislerp", deltas, weights), expected, 1e-6)
    assert any(factors_of(layer, "two").rank == 0 for layer in adapted_modules(model).values())


@pytest.mark.parametrize(("method", "options"), [*PRUNED, *DRAWN])
def test_a_density_of_1_keeps_everything_as_in_mergekit(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.bernoulli", lambda _: pytest.fail("a mask was drawn"))
    weights = [0.7, 0.5]
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    options = {**options, "density": 1.0}
    expected = delta_by_mergekit(method, base, deltas, **for_mergekit(weights, options))
    verify_equal(by_plait(method, deltas, weights, **options), expected, 1e-12)


@pytest.mark.parametrize("method", ["della", "della_linear"])
def test_della_ranks_rows_of_the_weight_as_the_base_stores_it(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    numbers = uniforms_of(11)

    def stored_the_other_way_round(stream: int, start: int, count: int) -> NDArray[Any]:
        assert start == 0
        return numbers(stream, 0, count).reshape(SHAPE).T.reshape(-1)

    masks = chosen_masks(stored_the_other_way_round, range(2))
    monkeypatch.setattr("torch.bernoulli", masks)
    options = for_mergekit([0.7, 0.5], {"density": 0.5})
    expected = delta_by_mergekit(method, base.T, deltas.transpose(0, 2, 1), **options)
    found = by_plait(method, deltas, [0.7, 0.5], {"is_transposed": True}, density=0.5)
    verify_equal(found, expected.T, 1e-6)
    other = by_plait(method, deltas, [0.7, 0.5], density=0.5)
    assert not np.array_equal(found == 0, other == 0)


@pytest.mark.parametrize("weights", [[0.7, 0.3], [1.0, -0.4], [0.5, 0.5, 0.5], [2.0]])
def test_linear_is_the_mean_of_deltas_as_of_whole_models(weights: list[float]) -> None:
    base, deltas = random_base(SHAPE), random_deltas(len(weights), SHAPE)
    # mergekit gives a weight to every model, the base too, which is left out here.
    merged = merge_by_mergekit("linear", [*(base + deltas)], base_index=None, weight=weights)
    verify_equal(by_plait("linear", deltas, weights), merged - base, 1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("options", [{}, {"normalize": True}, {"scale": 0.5}])
def test_task_arithmetic_is_that_of_mergekit(weights: list[float], options: dict[str, Any]) -> None:
    base, deltas = random_base(SHAPE), random_deltas(len(weights), SHAPE)
    expected = delta_by_mergekit("task_arithmetic", base, deltas, **for_mergekit(weights, options))
    verify_equal(by_plait("task_arithmetic", deltas, weights, **options), expected, 1e-12)


@pytest.mark.parametrize("weights", [[0.7, 0.3], [1.0, 3.0], [1.0, -0.4], [1.0, -1.0]])
@pytest.mark.parametrize("kind", ["unrelated", "parallel", "zero"])
def test_nuslerp_is_that_of_mergekit(weights: list[float], kind: str) -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    factor = {"parallel": 2.0, "zero": 0.0}.get(kind)
    if factor is not None:
        deltas[1] = deltas[0] * factor
    expected = delta_by_mergekit("nuslerp", base, deltas, weight=weights)
    verify_equal(by_plait("nuslerp", deltas, weights), expected, 1e-7)


@pytest.mark.parametrize("factor", [-0.5, -1.0, -3.0])
def test_nuslerp_is_linear_between_opposites_where_rounding_decides_in_mergekit(
    factor: float,
) -> None:
    deltas = random_deltas(2, SHAPE)
    deltas[1] = deltas[0] * factor
    found = by_plait("nuslerp", deltas, [0.7, 0.3])
    assert np.allclose(found, deltas[0] * (0.7 + 0.3 * factor), rtol=1e-12)


@pytest.mark.parametrize("weights", [*WEIGHTS[:2], [0.5, 0.5, 0.5], [2.0], [1.0, 1.0, -3.0, 4.0]])
@pytest.mark.parametrize("options", [{}, {"normalize": False}])
def test_multislerp_is_that_of_mergekit(weights: list[float], options: dict[str, Any]) -> None:
    base, deltas = random_base(SHAPE), random_deltas(len(weights), SHAPE)
    names = {"normalize": "normalize_weights"}
    given = {names[name]: value for name, value in options.items()}
    if len(weights) == 1:
        # The model as it is, of which the base is no part.
        merged = merge_by_mergekit(
            "multislerp", [base, *(base + deltas)], base_index=0, weight=weights, **given
        )
        expected = merged - base
    else:
        expected = delta_by_mergekit("multislerp", base, deltas, weight=weights, **given)
    verify_equal(by_plait("multislerp", deltas, weights, **options), expected, 1e-7)


def test_multislerp_adds_two_opposite_deltas_as_mergekit_does() -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    deltas[1] = -2 * deltas[0]
    expected = delta_by_mergekit("multislerp", base, deltas, weight=[0.5, 0.5])
    verify_equal(by_plait("multislerp", deltas, [0.5, 0.5]), expected, 1e-7)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("size", [0.1, 1e-6])
def test_model_stock_is_that_of_mergekit(count: int, size: float) -> None:
    base, deltas = random_base(SHAPE), random_deltas(count, SHAPE, size=size)
    expected = delta_by_mergekit("model_stock", base, deltas)
    verify_equal(by_plait("model_stock", deltas, [1.0] * count), expected, 1e-8)


def test_model_stock_of_small_deltas_vanishes_as_in_mergekit() -> None:
    deltas = random_deltas(2, SHAPE, size=1e-8)
    assert np.linalg.norm(by_plait("model_stock", deltas, [1.0, 1.0])) < 1e-3 * np.linalg.norm(
        deltas[0]
    )


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("density", [1.0, 0.4, 1e-6])
@pytest.mark.parametrize("size", [0.1, 1e-4])
def test_sce_is_that_of_mergekit(count: int, density: float, size: float) -> None:
    base, deltas = random_base(SHAPE), random_deltas(count, SHAPE, size=size)
    expected = delta_by_mergekit("sce", base, deltas, select_topk=density)
    found = by_plait("sce", deltas, [1.0] * count, density=density)
    assert np.linalg.norm(found - expected) <= 1e-9 * np.linalg.norm(deltas)


@pytest.mark.parametrize("size", [0.01, 0.1, 3.0])
@pytest.mark.parametrize("weights", [[0.7, 0.3], [1.0, 3.0], [1.0, -0.4]])
def test_slerp_of_whole_weights_is_that_of_mergekit(size: float, weights: list[float]) -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE, size=size)
    t = weights[1] / sum(weights)
    merged = merge_by_mergekit("slerp", [*(base + deltas)], base_index=0, t=t)
    found = by_plait("slerp", deltas, weights, {"base": base})
    verify_equal(found, merged - base, 1e-12)


def test_slerp_turns_to_the_arc_once_models_are_far_apart() -> None:
    base = random_base(SHAPE)
    near, far = random_deltas(2, SHAPE, size=0.001), random_deltas(2, SHAPE, size=3.0)
    for deltas, is_linear in ((near, True), (far, False)):
        found = by_plait("slerp", deltas, [1.0, 1.0], {"base": base})
        assert np.allclose(found, (deltas[0] + deltas[1]) / 2) is is_linear


@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize("size", [0.03, 0.3, 3.0])
@pytest.mark.parametrize("options", [{}, {"iterations": 100, "tolerance": 1e-8}])
def test_karcher_of_whole_weights_is_that_of_mergekit_in_float64(
    count: int, size: float, options: dict[str, Any]
) -> None:
    base, deltas = random_base(SHAPE), random_deltas(count, SHAPE, size=size)
    given = {k: v for k, v in for_mergekit([], options).items() if k != "weight"}
    merged = merge_by_mergekit("karcher", [*(base + deltas)], base_index=None, **given)
    found = by_plait("karcher", deltas, [1.0] * count, {"base": base}, **options)
    verify_equal(found, merged - base, 1e-8)


def test_karcher_with_weights_is_the_function_that_mergekit_calls() -> None:
    import torch
    from mergekit.merge_methods.karcher import karcher_merge_tensors

    base, deltas = random_base(SHAPE), random_deltas(3, SHAPE, size=0.3)
    models = [torch.from_numpy(base + delta) for delta in deltas]
    merged = karcher_merge_tensors(models, [0.5, 0.3, 0.2]).numpy()
    found = by_plait("karcher", deltas, [5.0, 3.0, 2.0], {"base": base})
    verify_equal(found, merged - base, 1e-9)


@pytest.mark.parametrize("size", [1e-5, 1e-4])
def test_karcher_of_models_close_to_each_other_is_that_of_mergekit_in_float64(size: float) -> None:
    base, deltas = random_base(SHAPE), random_deltas(3, SHAPE, size=size)
    merged = merge_by_mergekit("karcher", [*(base + deltas)], base_index=None)
    verify_equal(by_plait("karcher", deltas, [1.0] * 3, {"base": base}), merged - base, 1e-6)


@pytest.mark.parametrize(
    ("method", "options"),
    [("ties", {"density": 0.5}), ("breadcrumbs", {"density": 0.6}), ("task_arithmetic", {})],
)
def test_models_in_float32_are_merged_alike_but_for_the_rounding_of_the_base(
    method: str, options: dict[str, Any]
) -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE, size=0.5)
    given = for_mergekit([0.6, 0.3], options)
    expected = delta_by_mergekit(method, base, deltas, precision="float32", **given)
    verify_equal(by_plait(method, deltas, [0.6, 0.3], **options), expected, 1e-6)


@pytest.mark.parametrize("method", ["ties", "dare_ties", "breadcrumbs_ties", "della", "sce"])
def test_an_input_that_changes_nothing_takes_part_as_a_model_equal_to_the_base(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.bernoulli", chosen_masks(uniforms_of(11), range(2)))
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    deltas[1] = 0.0
    density = {"select_topk" if method == "sce" else "density": 0.5}
    given = density if method == "sce" else for_mergekit([1.0, 1.0], density)
    expected = delta_by_mergekit(method, base, deltas, **given)
    verify_equal(by_plait(method, deltas, [1.0, 1.0], density=0.5), expected, 1e-6)


def test_weights_that_cancel_are_no_mean_and_mergekit_gives_infinities() -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    merged = merge_by_mergekit("linear", [*(base + deltas)], base_index=None, weight=[1.0, -1.0])
    assert not np.isfinite(merged).any()
    with pytest.raises(InvalidInput, match="do not add up to zero"):
        by_plait("linear", deltas, [1.0, -1.0])


def test_probabilities_outside_of_0_to_1_are_refused_as_by_mergekit() -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    given = for_mergekit([1.0, 1.0], {"density": 0.9, "epsilon": 0.2})
    with pytest.raises(ValueError, match="Epsilon must be chosen"):
        delta_by_mergekit("della", base, deltas, **given)
    with pytest.raises(InvalidInput, match="choose a smaller epsilon"):
        by_plait("della", deltas, [1.0, 1.0], density=0.9, epsilon=0.2)


@pytest.mark.parametrize("method", ["model_stock", "sce"])
def test_weights_are_refused_where_mergekit_has_none(method: str) -> None:
    with pytest.raises(InvalidInput, match="has no weights") as caught:
        by_plait(method, random_deltas(2, SHAPE), [1.0, 2.0])
    assert caught.value.kind == "invalid-recipe"


def test_weights_that_cancel_have_no_place_on_an_arc() -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    with pytest.raises(InvalidInput, match="add up to zero"):
        by_plait("slerp", deltas, [1.0, -1.0], {"base": base})


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -1.0]])
def test_a_mean_on_the_sphere_needs_positive_weights(weights: list[float]) -> None:
    with pytest.raises(InvalidInput, match="needs positive weights") as caught:
        by_plait("karcher", random_deltas(2, SHAPE), weights, {"base": random_base(SHAPE)})
    assert caught.value.details["inputs"] == [1]


@pytest.mark.parametrize("weights", [[1.0, -1.0, 0.0], [1.0, 1.0, 1.0]])
def test_directions_that_cancel_have_no_barycentre(weights: list[float]) -> None:
    deltas = random_deltas(3, SHAPE)
    deltas[2] = -deltas[0]
    deltas[1] = 0.0
    with pytest.raises(InvalidInput, match="cancel"):
        by_plait("multislerp", deltas, weights)


@pytest.mark.parametrize("method", ["slerp", "karcher"])
def test_a_method_on_whole_weights_says_that_its_caller_forgot_the_base(method: str) -> None:
    with pytest.raises(PlaitError, match="got no base"):
        by_plait(method, random_deltas(2, SHAPE), [1.0, 1.0])


def test_model_stock_is_zero_where_its_angles_leave_no_estimate() -> None:
    base, deltas = random_base(SHAPE), random_deltas(2, SHAPE)
    deltas[1] = -deltas[0]
    assert not np.any(delta_by_mergekit("model_stock", base, deltas).round(12))
    assert not np.any(by_plait("model_stock", deltas, [1.0, 1.0]))


def test_whole_weights_of_zero_have_no_direction_and_stay_zero_as_in_mergekit() -> None:
    base, deltas = random_base(SHAPE), np.zeros((2, *SHAPE))
    deltas[:] = -base
    found = by_plait("karcher", deltas, [1.0, 1.0], {"base": base})
    merged = merge_by_mergekit("karcher", [*(base + deltas)], base_index=None)
    assert np.array_equal(base + found, merged)
