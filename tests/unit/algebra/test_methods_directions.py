import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.methods import find_combination
from plait.errors import InvalidInput
from reference.method_options import parameters_of
from reference.methods import karcher, slerp

Array = NDArray[np.float64]


def inner_products(deltas: Array) -> Array:
    vectors = deltas.reshape(len(deltas), -1)
    return np.asarray(vectors @ vectors.T)


def combine(method: str, deltas: Array, weights: Sequence[float], **given: float) -> Array:
    found = find_combination(method)(
        lambda: inner_products(deltas), weights, parameters_of(method, **given)
    )
    return np.asarray(np.tensordot(found, deltas, 1))


def plane(*angles: float, lengths: Sequence[float] | None = None) -> Array:
    """Return vectors of a plane as deltas of one row."""
    lengths = lengths or [1.0] * len(angles)
    return np.array(
        [
            [[length * math.cos(angle), length * math.sin(angle)]]
            for angle, length in zip(angles, lengths, strict=True)
        ]
    )


def at(delta: Array) -> tuple[float, float]:
    """Return the angle and the length of a delta in the plane."""
    x, y = delta.ravel().tolist()
    return math.atan2(y, x), math.hypot(x, y)


@pytest.mark.parametrize("angle", [1e-7, 1e-3, 0.5, math.pi / 2, 2.0, 3.0, math.pi - 1e-3])
@pytest.mark.parametrize("weights", [(1, 1), (0.7, 0.3), (1, 9), (3, 1)])
def test_slerp_divides_the_angle_and_the_length_by_the_weights(
    angle: float, weights: tuple[float, float]
) -> None:
    t = weights[1] / sum(weights)
    found, length = at(combine("slerp", plane(0.0, angle, lengths=[2.0, 3.0]), weights))
    # Near pi the plane itself is known less and less well: 1 / (pi - angle) times the rounding.
    tolerance = 1e-15 * max(1.0, 4.0 / (math.pi - angle))
    assert found == pytest.approx(t * angle, rel=tolerance, abs=tolerance)
    assert length == pytest.approx((1 - t) * 2 + t * 3, rel=2 * tolerance)


@pytest.mark.parametrize("size", [3, 40])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.8])
def test_slerp_is_that_of_long_vectors(size: int, t: float) -> None:
    one, other = np.random.default_rng(size).standard_normal((2, size, size))
    for second in (other, one + 1e-3 * other, 0.1 * other - one):
        found = combine("slerp", np.stack([one, second]), [1 - t, t])
        expected = slerp(one, second, t)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * abs(expected).max())


def test_slerp_of_equal_directions_is_a_straight_line() -> None:
    delta = np.random.default_rng(1).standard_normal((4, 5))
    found = combine("slerp", np.stack([delta, 3 * delta]), [0.5, 0.5])
    np.testing.assert_allclose(found, 2 * delta, rtol=1e-15)
    np.testing.assert_array_equal(combine("slerp", np.stack([delta, delta]), [0.5, 0.5]), delta)


def test_slerp_goes_over_to_the_straight_line_without_a_step() -> None:
    # On both sides of PARALLEL: 1 - cosine = 2^-50 is an angle of 4.2e-8.
    find = find_combination("slerp")
    grams = [
        np.array([[1.0, 1.0 - gap], [1.0 - gap, 1.0]])
        for gap in (0.0, 2.0**-52, 2.0**-51, 2.0**-50, 2.0**-49, 2.0**-48)
    ]
    coefficients = [find(partial(np.copy, gram), [0.3, 0.7], {}) for gram in grams]
    np.testing.assert_allclose(coefficients, [[0.3, 0.7]] * 6, rtol=1e-14)


@pytest.mark.parametrize("method", ["slerp", "karcher"])
def test_an_input_of_weight_zero_leaves_the_other_exactly_as_it_is(method: str) -> None:
    deltas = np.random.default_rng(2).standard_normal((2, 3, 4))
    opposite = np.stack([deltas[0], -deltas[0]])
    for stack in (deltas, opposite, np.stack([deltas[0], np.zeros((3, 4))])):
        np.testing.assert_array_equal(combine(method, stack, [0.3, 0.0]), stack[0])
    np.testing.assert_array_equal(combine(method, deltas, [0.0, 0.2]), deltas[1])


@pytest.mark.parametrize("method", ["slerp", "karcher"])
def test_opposite_directions_are_refused_by_their_indices(method: str) -> None:
    deltas = plane(0.3, 0.3 + math.pi - 2e-5)
    with pytest.raises(InvalidInput, match="opposite") as caught:
        combine(method, deltas, [0.5, 0.5])
    assert caught.value.details["inputs"] == [0, 1]


@pytest.mark.parametrize("method", ["slerp", "karcher"])
def test_a_zero_delta_is_refused_by_its_index(method: str) -> None:
    deltas = plane(0.3, 1.0, lengths=[1.0, 0.0])
    with pytest.raises(InvalidInput, match="no direction") as caught:
        combine(method, deltas, [0.5, 0.5])
    assert (caught.value.kind, caught.value.details["inputs"]) == ("delta-zero", [1])


@pytest.mark.parametrize("method", ["slerp", "karcher"])
@pytest.mark.parametrize(("weights", "blamed"), [([1.0, -0.5], [1]), ([0.0, 0.0], [0, 1])])
def test_weights_that_share_nothing_out_are_refused(
    method: str, weights: list[float], blamed: list[int]
) -> None:
    with pytest.raises(InvalidInput, match="method sum") as caught:
        combine(method, plane(0.0, 1.0), weights)
    assert (caught.value.kind, caught.value.details["inputs"]) == ("invalid-recipe", blamed)


@pytest.mark.parametrize("angle", [1e-3, 0.5, 2.0, 3.0])
def test_the_karcher_mean_of_two_is_slerp(angle: float) -> None:
    deltas = plane(0.2, 0.2 + angle, lengths=[2.0, 0.5])
    for weights in ([0.5, 0.5], [0.7, 0.3], [0.05, 0.95]):
        np.testing.assert_allclose(
            combine("karcher", deltas, weights), combine("slerp", deltas, weights), atol=2e-9
        )


def test_the_karcher_mean_in_a_plane_is_the_mean_angle() -> None:
    angles, weights = [0.1, 0.4, 1.2, -0.3], [1.0, 2.0, 0.5, 1.5]
    found, length = at(combine("karcher", plane(*angles, lengths=[1, 2, 3, 4]), weights))
    assert found == pytest.approx(np.average(angles, weights=weights), abs=1e-9)
    assert length == pytest.approx(np.average([1, 2, 3, 4], weights=weights))


@pytest.mark.parametrize("count", [3, 7])
def test_the_karcher_mean_is_that_of_long_vectors(count: int) -> None:
    rng = np.random.default_rng(count)
    deltas = rng.standard_normal((count, 6, 7)) + 0.5
    weights = rng.uniform(0.1, 2, count).tolist()
    found = combine("karcher", deltas, weights, tolerance=1e-14)
    np.testing.assert_allclose(found, karcher(deltas, weights), rtol=0, atol=1e-12)


def test_the_karcher_mean_stops_at_the_tolerance_and_at_the_number_of_steps() -> None:
    deltas = np.random.default_rng(5).standard_normal((3, 5, 5)) + 0.3
    weights = [1.0, 5.0, 2.0]
    exact = karcher(deltas, weights)
    errors = [
        np.linalg.norm(combine("karcher", deltas, weights, iterations=steps) - exact)
        for steps in (1, 2, 4)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 0
    loose = combine("karcher", deltas, weights, tolerance=1.0)
    straight = combine("karcher", deltas, weights, iterations=1)
    assert np.linalg.norm(loose - exact) > np.linalg.norm(straight - exact)


def test_directions_that_cancel_are_refused() -> None:
    deltas = plane(0.0, 2 * math.pi / 3, -2 * math.pi / 3)
    with pytest.raises(InvalidInput, match="opposite") as caught:
        combine("karcher", deltas, [1, 1, 1])
    assert caught.value.details["inputs"] == [0, 1, 2]


def test_a_mean_whose_way_leads_past_an_opposite_input_names_it() -> None:
    # The mean of the other two is where it starts, exactly opposite to the third.
    deltas = plane(0.0, 0.0, math.pi)
    with pytest.raises(InvalidInput, match="opposite") as caught:
        combine("karcher", deltas, [1.0, 1.0, 0.5])
    assert caught.value.details["inputs"] == [2]


def test_bits_of_coefficients_are_fixed() -> None:
    gram = np.array([[2.0, 0.5, 0.25], [0.5, 1.0, -0.125], [0.25, -0.125, 3.0]])
    found = [
        *find_combination("slerp")(lambda: gram[:2, :2], [0.7, 0.3], {}),
        *find_combination("karcher")(lambda: gram, [1.0, 2.0, 0.5], parameters_of("karcher")),
    ]
    assert [value.hex() for value in found] == [
        "0x1.75f59018bdbf1p-1",
        "0x1.f52fc2313dbb5p-2",
        "0x1.65097b8cb8adep-2",
        "0x1.d7c5baa059fe9p-1",
        "0x1.6674c6866f66ep-3",
    ]
