from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.methods import find_elementwise
from plait.errors import InvalidInput
from reference.method_options import options_for, uniforms_of

Array = NDArray[np.float64]
ALL = ["ties", "dare", "dare_ties", "della", "breadcrumbs", "magnitude_prune"]
ELECTING = ["ties", "dare_ties", "della"]
DRAWING = ["dare", "dare_ties", "della"]


def combine(method: str, deltas: object, weights: Sequence[float], **given: Any) -> Array:
    stack = np.asarray(deltas, np.float64)
    return find_elementwise(method)(stack, weights, options_for(method, **given))


def rows(*deltas: Sequence[float]) -> Array:
    """Return deltas of one row each."""
    return np.array(deltas, np.float64)[:, None, :]


def test_ties_takes_the_mean_of_what_agrees_with_the_elected_sign() -> None:
    deltas = rows([3, 3, -1, 0, 2], [1, -1, -2, 0, -2], [2, -1, 6, 0, 0])
    assert combine("ties", deltas, [1, 1, 1]).tolist() == [[2, 3, 6, 0, 0]]


def test_ties_by_frequency_counts_signs_and_not_values() -> None:
    deltas = rows([3, 3, -1, 0, 2], [1, -1, -2, 0, -2], [2, -1, 6, 0, 0])
    outcome = combine("ties", deltas, [1, 1, 1], majority="frequency")
    assert outcome.tolist() == [[2, -1, -1.5, 0, 0]]


@pytest.mark.parametrize("majority", ["total", "frequency"])
def test_an_exact_balance_of_votes_elects_nothing(majority: str) -> None:
    assert combine("ties", rows([2.0], [-2.0]), [1, 1], majority=majority).tolist() == [[0]]


def test_weights_multiply_before_the_election_and_divide_the_mean() -> None:
    deltas = rows([4, 1], [-3, 2])
    # 0.25 * 4 - 0.75 * 3 < 0: the second is elected; both agree on the second element.
    assert combine("ties", deltas, [0.25, 0.75]).tolist() == [[-3, 1.75]]


def test_a_negative_weight_votes_and_counts_for_the_other_sign() -> None:
    deltas = rows([4, 1, 5], [-2, 3, 5])
    # The values are 4 and 2; 1 and -3; 5 and -5.
    assert combine("ties", deltas, [1, -1]).tolist() == [[3, -3, 0]]
    assert combine("ties", deltas[:1], [-2]).tolist() == [[-4, -1, -5]]


def test_an_input_of_which_nothing_is_left_has_no_share_in_the_mean() -> None:
    deltas = rows([4, 0.1, 0.1, 3], [0.2, 5, 0.1, 1])
    assert combine("ties", deltas, [1, 1], density=0.5).tolist() == [[4, 5, 0, 2]]


def test_scale_multiplies_the_outcome() -> None:
    deltas = rows([4, 2], [2, 2])
    for method in ELECTING:
        assert combine(method, deltas, [1, 1], scale=1.5).tolist() == [[4.5, 3]]


@pytest.mark.parametrize(
    ("density", "kept"), [(0.1, 1), (0.01, 1), (0.24, 2), (0.25, 3), (0.29, 3), (0.95, 10)]
)
def test_a_density_is_rounded_to_a_whole_number_of_elements_of_at_least_one(
    density: float, kept: int
) -> None:
    deltas = rows(range(1, 11))
    outcome = combine("magnitude_prune", deltas, [1], density=density)
    assert outcome.tolist() == [[0] * (10 - kept) + list(range(11 - kept, 11))]


def test_a_product_that_misses_a_whole_number_by_rounding_means_that_number() -> None:
    # 0.29 * 100 is 28.999999999999996, of which others keep 28.
    deltas = np.arange(1.0, 101.0).reshape(1, 4, 25)
    assert np.count_nonzero(combine("magnitude_prune", deltas, [1], density=0.29)) == 29


def test_of_equal_magnitudes_the_first_are_kept() -> None:
    deltas = np.array([[[1.0, -2.0, 2.0], [2.0, 1.0, -2.0]]])
    outcome = combine("magnitude_prune", deltas, [1], density=0.5)
    assert outcome.tolist() == [[0, -2, 2], [2, 0, 0]]


def test_trimming_is_by_tensor_and_not_by_row() -> None:
    deltas = np.array([[[5.0, 4.0], [1.0, 2.0]]])
    assert combine("ties", deltas, [1], density=0.5).tolist() == [[5, 4], [0, 0]]


def test_magnitude_pruning_adds_what_is_kept_without_a_mean() -> None:
    deltas = rows([4, 1], [-2, 6])
    assert combine("magnitude_prune", deltas, [0.5, 2], density=0.5).tolist() == [[2, 12]]


def test_breadcrumbs_drops_the_largest_and_the_smallest() -> None:
    deltas = rows([1, -10, 3, 2, 5, -4, 7, 8, 9, 6])
    outcome = combine("breadcrumbs", deltas, [2], density=0.3, gamma=0.2)
    assert outcome.tolist() == [[0, 0, 0, 0, 0, 0, 14, 16, 0, 12]]


def test_breadcrumbs_passes_over_the_first_of_equal_magnitudes() -> None:
    deltas = rows([2, 2, 2, 2, 1])
    outcome = combine("breadcrumbs", deltas, [1], density=0.4, gamma=0.2)
    assert outcome.tolist() == [[0, 2, 2, 0, 0]]


def test_breadcrumbs_with_a_density_and_a_gamma_of_the_whole_drops_the_largest_alone() -> None:
    outcome = combine("breadcrumbs", rows(range(10)), [1], density=0.9, gamma=0.1)
    assert outcome.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 0]]


def test_a_density_and_a_gamma_of_more_than_the_whole_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"density of 0\.9 and a gamma of 0\.2") as caught:
        combine("breadcrumbs", rows(range(10)), [1], density=0.9, gamma=0.2)
    assert caught.value.kind == "invalid-recipe"


def test_dare_rescales_what_it_keeps() -> None:
    deltas = np.ones((2, 30, 40))
    numbers = [uniforms_of(11)(stream, 0, 1200).reshape(30, 40) for stream in (0, 1)]
    outcome = combine("dare", deltas, [1, 2], density=0.25)
    expected = 4.0 * (numbers[0] < 0.25) + 8.0 * (numbers[1] < 0.25)
    np.testing.assert_array_equal(outcome, expected)


def test_dare_keeps_the_sum_on_average() -> None:
    deltas = np.full((1, 400, 500), 2.0)
    for method in DRAWING:
        outcome = combine(method, deltas, [1], density=0.5)
        # 200,000 draws: three standard deviations of the mean are 0.0134.
        assert outcome.mean() == pytest.approx(2.0, abs=0.0134)


def test_della_keeps_large_elements_more_often() -> None:
    size = 2000
    deltas = np.tile(np.arange(1.0, size + 1) / size, (1, 300, 1))
    kept = combine("della", deltas, [1], density=0.5, epsilon=0.4) != 0.0
    shares = kept.reshape(300, 4, size // 4).mean(axis=(0, 2))
    # Between 0.1 and 0.9, so in the middles of quarters:
    np.testing.assert_allclose(shares, [0.2, 0.4, 0.6, 0.8], atol=0.005)


def test_della_rescales_by_each_element_s_own_probability() -> None:
    deltas = rows([1, -4, 2])
    options = options_for("della", density=0.5, epsilon=0.25, placed=None)
    numbers = uniforms_of(11)(0, 0, 3)
    probabilities = [0.25, 0.75, 0.5]
    outcome = find_elementwise("della")(deltas, [1.0], options)
    expected = [
        value / probability if number < probability else 0.0
        for value, probability, number in zip([1, -4, 2], probabilities, numbers, strict=True)
    ]
    np.testing.assert_allclose(outcome, [expected], rtol=1e-15)


def test_della_with_one_column_has_the_density_as_its_probability() -> None:
    deltas = np.ones((1, 400, 1))
    outcome = combine("della", deltas, [1], density=0.5, epsilon=0.3)
    assert set(np.unique(outcome)) == {0.0, 2.0}


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.1), (0.05, 0.2), (0.95, 0.1)])
def test_probabilities_outside_their_range_are_refused(density: float, epsilon: float) -> None:
    with pytest.raises(InvalidInput, match="lower epsilon") as caught:
        combine("della", rows([1, 2]), [1], density=density, epsilon=epsilon)
    assert caught.value.kind == "invalid-recipe"


def test_a_probability_of_exactly_one_is_allowed() -> None:
    outcome = combine("della", rows([9, 1, 1]), [1], density=0.75, epsilon=0.25)
    assert outcome[0, 0] == 9


@pytest.mark.parametrize("method", DRAWING)
def test_a_density_of_one_draws_no_numbers(method: str) -> None:
    deltas = rows([1, -2])
    options = options_for(method, placed=None)

    def never(stream: int, start: int, count: int) -> Array:
        raise AssertionError("nothing is dropped")

    object.__setattr__(options, "uniforms", never)
    np.testing.assert_array_equal(find_elementwise(method)(deltas, [1], options), [[1, -2]])


@pytest.mark.parametrize("method", DRAWING)
def test_inputs_have_masks_of_their_own(method: str) -> None:
    deltas = np.ones((2, 20, 30))
    one = combine(method, deltas * [[[1]], [[0]]], [1, 1], density=0.5, **_flat(method))
    other = combine(method, deltas * [[[0]], [[1]]], [1, 1], density=0.5, **_flat(method))
    assert 0.3 < (one == other).mean() < 0.7


@pytest.mark.parametrize("method", ALL)
def test_inputs_are_left_as_they_were(method: str) -> None:
    deltas = np.random.default_rng(1).standard_normal((2, 5, 6))
    deltas.flags.writeable = False
    outcome = combine(method, deltas, [0.5, 0.5], density=0.5, **_flat(method))
    assert outcome.flags.owndata or outcome.base is not deltas


@pytest.mark.parametrize("method", ALL)
def test_an_outcome_without_elements_is_empty(method: str) -> None:
    for shape in [(2, 0, 3), (2, 3, 0)]:
        assert combine(method, np.empty(shape), [1, 1], density=0.5).shape == shape[1:]


@pytest.mark.parametrize("method", ELECTING)
def test_values_that_underflow_count_as_nothing(method: str) -> None:
    deltas = rows([5e-324], [1.0])
    outcome = combine(method, deltas, [0.25, 0.5], majority="frequency")
    assert outcome.tolist() == [[1.0]]


def _flat(method: str) -> dict[str, float]:
    """Return parameters with which DELLA's probabilities are all the density."""
    return {"epsilon": 0.0} if method == "della" else {}
