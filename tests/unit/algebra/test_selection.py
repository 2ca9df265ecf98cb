import numpy as np
import pytest

from plait.algebra.kernels.selection import keep_largest, kth_largest_magnitude


@pytest.mark.parametrize("keep", [0, 1, 2, 3, 4, 5, 6, 9])
def test_of_equal_magnitudes_the_first_are_kept(keep: int) -> None:
    x = np.array([1.0, -2.0, 2.0, 0.5, -2.0, 0.0])
    order = [1, 2, 4, 0, 3, 5]
    mask = keep_largest(x, keep)
    assert set(np.flatnonzero(mask)) == set(order[:keep])


@pytest.mark.parametrize("keep", [1, 7, 500, 999, 1000])
def test_the_kth_largest_is_that_of_a_sort(keep: int) -> None:
    rng = np.random.default_rng(keep)
    x = rng.standard_normal(1000) * 10.0 ** rng.integers(-300, 300, 1000)
    x[::7] = x[0]
    x[::11] = 5e-324
    found = np.sort(np.abs(x))[::-1][keep - 1]
    assert kth_largest_magnitude(x, keep) == found
    stable = np.argsort(-np.abs(x), kind="stable")[:keep]
    assert np.array_equal(np.flatnonzero(keep_largest(x, keep)), np.sort(stable))


def test_zeros_of_both_signs_are_equal() -> None:
    mask = keep_largest(np.array([0.0, -0.0, 0.0]), 2)
    assert mask.tolist() == [True, True, False]
