import numpy as np
import pytest

from plait.algebra.delta import Matrix
from plait.algebra.kernels.fourier import find_prime_factors, transform_columns
from plait.algebra.roots_of_unity import find_roots_of_unity


def transform(values: Matrix) -> Matrix:
    return transform_columns(values.copy(), *find_roots_of_unity(values.shape[1]))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 12, 30, 49, 64, 101, 704])
def test_a_transform_is_that_of_the_library_to_rounding(n: int) -> None:
    values = np.random.default_rng(n).standard_normal((2, n, 3))
    found = transform(values)
    expected = np.fft.ifft(values[0] + 1j * values[1], axis=0) * n
    np.testing.assert_allclose(found[0], expected.real, atol=1e-12)
    np.testing.assert_allclose(found[1], expected.imag, atol=1e-12)


def test_columns_do_not_know_of_each_other() -> None:
    values = np.random.default_rng(1).standard_normal((2, 60, 37))
    together = transform(values)
    for left, right in ((0, 1), (1, 9), (9, 37)):
        apart = transform(np.ascontiguousarray(values[:, :, left:right]))
        assert apart.tobytes() == np.ascontiguousarray(together[:, :, left:right]).tobytes()


def test_one_number_alone_makes_a_wave() -> None:
    values = np.zeros((2, 24, 1))
    values[0, 5] = 1.0
    cosines, sines = find_roots_of_unity(24)
    turns = 5 * np.arange(24) % 24
    np.testing.assert_allclose(transform(values)[0, :, 0], cosines[turns], atol=1e-15)
    np.testing.assert_allclose(transform(values)[1, :, 0], sines[turns], atol=1e-15)


@pytest.mark.parametrize(
    ("n", "factors"),
    [(1, []), (2, [2]), (12, [2, 2, 3]), (49, [7, 7]), (97, [97]), (11_008, [2] * 8 + [43])],
)
def test_numbers_fall_into_their_prime_factors(n: int, factors: list[int]) -> None:
    assert find_prime_factors(n) == factors
