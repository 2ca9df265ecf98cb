import numpy as np
import pytest

from plait.algebra.kernels.ranking import order_by_magnitude


@pytest.mark.parametrize("columns", [1, 2, 7, 300, 5000])
def test_columns_are_in_the_order_of_their_magnitudes(columns: int) -> None:
    x = np.random.default_rng(columns).standard_normal((3, columns))
    np.testing.assert_array_equal(
        order_by_magnitude(x), np.argsort(-np.abs(x), axis=1, kind="stable")
    )


def test_of_equal_magnitudes_the_lower_column_comes_first() -> None:
    x = np.array([[1.0, -2.0, 2.0, -1.0, 0.0, -0.0, 2.0], [5.0] * 7])
    assert order_by_magnitude(x).tolist() == [[1, 2, 6, 0, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]]


def test_numbers_of_any_size_are_told_apart() -> None:
    x = np.array([[5e-324, 1e308, 0.0, -1e-310, 1.0, np.nextafter(1.0, 2.0), -1e-5]])
    assert order_by_magnitude(x).tolist() == [[1, 5, 4, 6, 3, 0, 2]]


def test_a_matrix_without_columns_has_an_empty_order() -> None:
    assert order_by_magnitude(np.empty((2, 0))).shape == (2, 0)
