import math

import numpy as np
import pytest

from plait.algebra.roots_of_unity import MOST_ROOTS, find_roots_of_unity
from plait.errors import InvalidInput


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 12, 100, 256, 257, 704])
def test_every_root_is_the_double_nearest_to_the_true_one(n: int) -> None:
    mpmath = pytest.importorskip("mpmath", reason="needs mpmath, which comes with torch")
    cosines, sines = find_roots_of_unity(n)
    with mpmath.workprec(200):
        for k in range(n):
            for found, turn in ((cosines[k], mpmath.cospi), (sines[k], mpmath.sinpi)):
                assert found == float(turn(mpmath.mpf(2 * k) / n)), (k, n)


@pytest.mark.parametrize("n", [1000, 4096, 11008])
def test_roots_are_those_of_the_library_to_the_rounding_of_its_angles(n: int) -> None:
    cosines, sines = find_roots_of_unity(n)
    angles = 2 * np.pi * np.arange(n) / n
    np.testing.assert_allclose(cosines, np.cos(angles), rtol=0, atol=2e-15)
    np.testing.assert_allclose(sines, np.sin(angles), rtol=0, atol=2e-15)


def test_what_is_exact_is_exact() -> None:
    cosines, sines = find_roots_of_unity(12)
    assert cosines[[0, 2, 3, 4, 6, 9]].tolist() == [1, 0.5, 0, -0.5, -1, 0]
    assert sines[[0, 1, 3, 6, 7, 9]].tolist() == [0, 0.5, 1, 0, -0.5, -1]
    assert find_roots_of_unity(8)[0][1] == math.sqrt(0.5)


@pytest.mark.parametrize("n", [30, 128, 1001])
def test_roots_mirror_each_other(n: int) -> None:
    cosines, sines = find_roots_of_unity(n)
    assert (cosines[1:] == cosines[:0:-1]).all()
    assert (sines[1:] == -sines[:0:-1]).all()


def test_tables_are_shared_and_cannot_be_changed() -> None:
    assert find_roots_of_unity(16) is find_roots_of_unity(16)
    for table in find_roots_of_unity(16):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 2.0


@pytest.mark.parametrize("n", [0, -4, MOST_ROOTS + 1])
def test_a_circle_of_no_or_too_many_parts_is_refused(n: int) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        find_roots_of_unity(n)
