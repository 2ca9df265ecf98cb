from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from plait.algebra.methods import find_combination, find_elementwise
from reference import methods as reference
from reference.method_options import options_for, parameters_of, uniforms_of

Array = NDArray[np.float64]
DIRECTIONAL = ["slerp", "karcher"]
LINEAR = ["concat", "sum", "average"]
ADDING = ["dare", "breadcrumbs", "magnitude_prune"]
ELECTING = ["ties", "dare_ties", "della"]
ELEMENTWISE = [*ADDING, *ELECTING]

weights_of = st.floats(0.01, 3.0).flatmap(lambda size: st.sampled_from([size, -size]))
densities = st.floats(0.15, 0.8)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def stacks(draw: st.DrawFn, count: int | None = None) -> Array:
    """Draw deltas: small whole numbers, where magnitudes and votes are often equal, or any."""
    count = count or draw(st.integers(1, 5))
    shape = (count, draw(st.integers(1, 7)), draw(st.integers(1, 9)))
    if draw(st.booleans()):
        return draw(arrays(np.float64, shape, elements=st.integers(-3, 3).map(float)))
    deltas = np.random.default_rng(draw(seeds)).standard_normal(shape)
    return deltas * 10.0 ** draw(st.integers(-8, 8))


@st.composite
def weighted(draw: st.DrawFn) -> tuple[Array, list[float]]:
    deltas = draw(stacks())
    return deltas, [draw(weights_of) for _ in deltas]


def combine(method: str, deltas: Array, weights: list[float], **given: Any) -> Array:
    return find_elementwise(method)(deltas, weights, options_for(method, **given))


def numbers_for(deltas: Array) -> Array:
    streams = [uniforms_of(11)(index, 0, delta.size) for index, delta in enumerate(deltas)]
    return np.stack(streams).reshape(deltas.shape)


def sparsify(method: str, deltas: Array, density: float) -> Array:
    """Return what the formula of a method keeps."""
    if method in {"dare", "dare_ties"}:
        return reference.draw(deltas, density, numbers_for(deltas))
    if method == "della":
        return reference.draw_by_rank(deltas, density, 0.1, numbers_for(deltas))
    if method == "breadcrumbs":
        return reference.cut_band(deltas, density, 0.05)
    return reference.trim(deltas, density)


def extra(method: str) -> dict[str, float]:
    return {"gamma": 0.05} if method == "breadcrumbs" else {}


@pytest.mark.parametrize("method", ADDING)
@given(case=weighted(), density=densities)
def test_methods_that_add_are_those_of_their_formula(
    method: str, case: tuple[Array, list[float]], density: float
) -> None:
    deltas, weights = case
    found = combine(method, deltas, weights, density=density, **extra(method))
    expected = reference.weighted_sum(sparsify(method, deltas, density), weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * np.abs(deltas).max())


@pytest.mark.parametrize("method", ELECTING)
@given(
    case=weighted(),
    density=densities,
    majority=st.sampled_from(["total", "frequency"]),
    scale=st.sampled_from([1.0, 0.5, -2.0]),
)
def test_methods_that_elect_are_those_of_their_formula(
    method: str, case: tuple[Array, list[float]], density: float, majority: str, scale: float
) -> None:
    deltas, weights = case
    found = combine(method, deltas, weights, density=density, majority=majority, scale=scale)
    kept = sparsify(method, deltas, density)
    expected = reference.elect(kept, weights, majority, scale)
    # Votes that balance but for the last digit may fall either way.
    clear = np.abs(reference.weighted_sum(kept, weights)) > 1e-13 * np.abs(kept).max()
    clear |= majority == "frequency"
    np.testing.assert_allclose(
        found[clear], expected[clear], rtol=1e-12, atol=1e-13 * np.abs(deltas).max()
    )


@pytest.mark.parametrize("method", ELEMENTWISE)
@given(delta=stacks(count=1))
def test_one_input_with_a_density_of_one_is_left_as_it_is(method: str, delta: Array) -> None:
    np.testing.assert_array_equal(combine(method, delta, [1.0], density=1.0), delta[0])


@pytest.mark.parametrize("method", [*LINEAR, "resize", "convert", *DIRECTIONAL])
@given(size=st.floats(1e-6, 1e6), weight=st.floats(0.01, 3))
def test_one_input_has_a_coefficient_of_its_weight_or_of_one(
    method: str, size: float, weight: float
) -> None:
    (found,) = find_combination(method)(lambda: np.array([[size]]), [weight], parameters_of(method))
    is_a_mean = method in {"average", *DIRECTIONAL}
    assert found == (1.0 if is_a_mean else weight)


@pytest.mark.parametrize("method", ELEMENTWISE)
@given(case=weighted(), density=densities)
def test_deltas_of_zero_stay_zero(
    method: str, case: tuple[Array, list[float]], density: float
) -> None:
    deltas, weights = case
    found = combine(method, 0.0 * deltas, weights, density=density, **extra(method))
    assert not found.any()


@pytest.mark.parametrize("method", ELEMENTWISE)
@given(case=weighted(), density=densities, power=st.integers(-20, 20))
def test_a_scaled_delta_has_a_scaled_outcome(
    method: str, case: tuple[Array, list[float]], density: float, power: int
) -> None:
    deltas, weights = case
    factor = 2.0**power  # so that nothing is rounded in another way
    given = {"density": density, **extra(method)}
    np.testing.assert_array_equal(
        combine(method, factor * deltas, weights, **given),
        factor * combine(method, deltas, weights, **given),
    )


@pytest.mark.parametrize("method", ELECTING)
@given(case=weighted(), density=densities, power=st.integers(-20, 20))
def test_only_the_ratio_of_weights_counts_for_a_mean(
    method: str, case: tuple[Array, list[float]], density: float, power: int
) -> None:
    deltas, weights = case
    scaled = [weight * 2.0**power for weight in weights]
    np.testing.assert_array_equal(
        combine(method, deltas, scaled, density=density),
        combine(method, deltas, weights, density=density),
    )


@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "magnitude_prune"])
@given(case=weighted(), density=densities, seed=seeds)
def test_the_order_of_inputs_does_not_matter_but_for_rounding(
    method: str, case: tuple[Array, list[float]], density: float, seed: int
) -> None:
    deltas, weights = case
    order = np.random.default_rng(seed).permutation(len(weights))
    given = {"density": density, **extra(method)}
    found = combine(method, deltas[order], [weights[i] for i in order], **given)
    kept = sparsify(method, deltas, density)
    clear = np.abs(reference.weighted_sum(kept, weights)) > 1e-13 * np.abs(kept).max()
    expected = combine(method, deltas, weights, **given)
    np.testing.assert_allclose(
        found[clear], expected[clear], rtol=1e-12, atol=1e-13 * np.abs(deltas).max()
    )


@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "magnitude_prune"])
@given(case=weighted(), density=densities)
def test_a_delta_turned_round_has_the_outcome_turned_round(
    method: str, case: tuple[Array, list[float]], density: float
) -> None:
    deltas, weights = case
    given = {"density": density, **extra(method)}
    np.testing.assert_array_equal(
        combine(method, -deltas, weights, **given), -combine(method, deltas, weights, **given)
    )
    np.testing.assert_array_equal(
        combine(method, deltas, [-weight for weight in weights], **given),
        -combine(method, deltas, weights, **given),
    )


@given(count=st.integers(1, 8), seed=seeds)
def test_coefficients_of_an_average_add_up_to_one(count: int, seed: int) -> None:
    weights = np.random.default_rng(seed).uniform(0.01, 3, count).tolist()
    found = find_combination("average")(lambda: np.eye(count), weights, {})
    assert sum(found) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("method", DIRECTIONAL)
@given(seed=seeds, power=st.integers(-30, 30), scale=st.floats(0.01, 100))
def test_a_mean_of_directions_keeps_to_scale_order_and_length(
    method: str, seed: int, power: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    deltas = rng.standard_normal((2 if method == "slerp" else 4, 3, 5)) + 0.5
    weights = rng.uniform(0.05, 2, len(deltas)).tolist()
    parameters = parameters_of(method)

    def find(stack: Array, shares: list[float]) -> list[float]:
        vectors = stack.reshape(len(stack), -1)
        return find_combination(method)(lambda: vectors @ vectors.T, shares, parameters)

    found = find(deltas, weights)
    assert find(2.0**power * deltas, weights) == pytest.approx(found, rel=1e-14)
    assert find(deltas, [scale * weight for weight in weights]) == pytest.approx(found, rel=1e-9)
    assert find(deltas[::-1], weights[::-1])[::-1] == pytest.approx(found, abs=1e-8)
    norms = np.linalg.norm(deltas.reshape(len(deltas), -1), axis=1)
    length = np.linalg.norm(np.tensordot(found, deltas, 1))
    assert length == pytest.approx(np.average(norms, weights=weights), rel=1e-12)
