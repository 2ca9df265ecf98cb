import math

import numpy as np
import pytest

from plait.algebra.angles import PI, arc_cosine, cosine, sine

ANGLES = [
    *np.random.default_rng(1).uniform(-4 * PI, 4 * PI, 4000).tolist(),
    *(10.0 ** np.random.default_rng(2).uniform(-12, 0, 500)).tolist(),
]


def test_sine_and_cosine_are_those_of_the_mathematics_library_but_for_the_last_digit() -> None:
    for angle in ANGLES:
        assert abs(sine(angle) - math.sin(angle)) <= 2.3e-16
        assert abs(cosine(angle) - math.cos(angle)) <= 2.3e-16
        assert sine(angle) == pytest.approx(math.sin(angle), rel=6e-16, abs=0)


def test_angles_of_many_turns_are_reduced_without_a_loss() -> None:
    for angle in np.random.default_rng(3).uniform(-1e6, 1e6, 2000).tolist():
        assert abs(sine(angle) - math.sin(angle)) <= 2.3e-16
        assert abs(cosine(angle) - math.cos(angle)) <= 2.3e-16


def test_arc_cosine_is_that_of_the_mathematics_library_but_for_the_last_digits() -> None:
    rng = np.random.default_rng(4)
    cosines = [
        *rng.uniform(-1, 1, 4000).tolist(),
        *(1 - 10.0 ** rng.uniform(-16, 0, 2000)).tolist(),
        *(-1 + 10.0 ** rng.uniform(-16, 0, 2000)).tolist(),
        *(10.0 ** rng.uniform(-18, 0, 500)).tolist(),
    ]
    for value in cosines:
        assert arc_cosine(value) == pytest.approx(math.acos(value), rel=1.2e-15, abs=0)


def test_the_ends_are_exact() -> None:
    assert arc_cosine(1.0) == 0.0
    assert arc_cosine(-1.0) == PI
    assert arc_cosine(math.nextafter(1.0, 2.0)) == 0.0  # as rounding leaves it
    assert arc_cosine(math.nextafter(-1.0, -2.0)) == PI
    assert (sine(0.0), cosine(0.0)) == (0.0, 1.0)


def test_bits_are_fixed() -> None:
    values = [arc_cosine(0.3), arc_cosine(-0.7), sine(1.1), sine(4.0), cosine(2.2), cosine(-5.1)]
    assert [value.hex() for value in values] == [
        "0x1.441f5ecbeef59p+0",
        "0x1.2c501446cd5f1p+1",
        "0x1.c84c54c2d6338p-1",
        "-0x1.837b9dddc1eaep-1",
        "-0x1.2d5004b88ad70p-1",
        "0x1.830c98ee45c9cp-2",
    ]
