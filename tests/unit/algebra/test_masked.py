import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.methods.masked import (
    BLOCK,
    Masked,
    blocks,
    flat,
    keep_all,
    keep_at_random,
    keep_largest_part,
    sum_by_lanes,
    sum_of_magnitudes,
    sum_weighted,
)
from reference.method_options import uniforms_of

SIZES = [1, 4_095, 4_096, BLOCK, BLOCK + 1, 3 * BLOCK - 5]


def random_values(size: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(size)


def sum_slowly(values: NDArray[np.float64]) -> float:
    """The order that `sum_by_lanes` promises, number by number."""
    lanes = [0.0] * 4_096
    for index, value in enumerate(values.tolist()):
        lanes[index % 4_096] += value
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    return lanes[0]


@pytest.mark.parametrize("size", SIZES)
def test_blocks_cover_every_element_once(size: int) -> None:
    parts = list(blocks(size))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(size))
    assert all(part.start % BLOCK == 0 for part in parts)


@pytest.mark.parametrize("size", SIZES)
def test_a_sum_has_the_bits_of_its_written_order(size: int) -> None:
    values = random_values(size)
    assert sum_by_lanes(lambda part: values[part], size) == sum_slowly(values)


@pytest.mark.parametrize("size", SIZES)
def test_the_norm_counts_only_what_is_kept_times_the_factor(size: int) -> None:
    values = random_values(size)
    mask = values > 0.3
    kept = Masked(values=values, mask=mask, factor=2.0)
    assert sum_of_magnitudes(kept) == sum_slowly(2.0 * np.where(mask, np.abs(values), 0.0))


@pytest.mark.parametrize("size", SIZES)
def test_weighted_sums_are_added_in_the_order_of_the_inputs(size: int) -> None:
    values = [random_values(size, seed) for seed in range(3)]
    found = sum_weighted([keep_all(value) for value in values], [0.1, 0.2, 0.3])
    expected = ((0.0 + values[0] * 0.1) + values[1] * 0.2) + values[2] * 0.3
    assert np.array_equal(found, expected)


def test_elements_are_kept_by_their_own_random_numbers_in_whatever_blocks() -> None:
    values = random_values(2 * BLOCK + 7)
    numbers = uniforms_of(1)(5, 0, values.size)
    for chances in (0.3, np.linspace(0, 1, values.size)):
        kept = keep_at_random(values, chances, uniforms_of(1), 5)
        assert kept.mask is not None
        assert np.array_equal(kept.mask, numbers < chances)


def test_of_equal_magnitudes_the_first_are_kept() -> None:
    kept = keep_largest_part(np.array([[1.0, -2.0], [2.0, -1.0]]), 3)
    assert kept.mask is not None
    assert kept.mask.tolist() == [True, True, True, False]
    assert kept.read(slice(0, 4)).tolist() == [1.0, -2.0, 2.0, 0.0]


def test_elements_come_in_double_precision_in_the_order_of_rows() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert flat(matrix).tolist() == [0, 3, 1, 4, 2, 5]
    assert flat(matrix).dtype == np.float64


def test_nothing_that_was_given_is_changed() -> None:
    values = random_values(100)
    before = values.copy()
    sum_weighted([keep_all(values), keep_largest_part(values, 10)], [1.0, 2.0])
    assert np.array_equal(values, before)
