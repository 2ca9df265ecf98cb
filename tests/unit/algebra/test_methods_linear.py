from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from plait.algebra.delta import Matrix
from plait.algebra.methods import find_combination
from plait.errors import InvalidInput
from plait.model.recipe_methods import Value


def no_gram() -> Matrix:
    raise AssertionError("weights alone decide")


def coefficients(
    method: str, weights: Sequence[float], parameters: Mapping[str, Value] | None = None
) -> list[float]:
    return find_combination(method)(no_gram, weights, parameters or {})


@pytest.mark.parametrize("method", ["concat", "sum", "resize", "convert"])
def test_sums_take_the_weights_as_they_are(method: str) -> None:
    assert coefficients(method, [0.7, -0.3, 2.0]) == [0.7, -0.3, 2.0]


def test_negation_changes_the_sign_and_twice_is_nothing() -> None:
    assert coefficients("negate", [0.3]) == [-0.3]
    assert coefficients("negate", coefficients("negate", [0.3])) == [0.3]


def test_an_average_divides_by_the_sum_of_weights() -> None:
    assert coefficients("average", [1, 1, 2]) == [0.25, 0.25, 0.5]
    assert coefficients("average", [3.0]) == [1.0]
    assert coefficients("average", [2.0, -1.0]) == [2.0, -1.0]
    assert coefficients("average", [-1.0, -3.0]) == [0.25, 0.75]


@pytest.mark.parametrize(
    "weights", [[1.0, -1.0], [0.1, 0.2, -0.3], [0.0, 0.0], [0.0], [5e-324, 5e-324]]
)
def test_an_average_of_weights_that_cancel_is_refused(weights: list[float]) -> None:
    with pytest.raises(InvalidInput, match="method sum") as caught:
        coefficients("average", weights)
    assert caught.value.kind == "invalid-recipe"
    assert caught.value.details["inputs"] == list(range(len(weights)))


def test_an_average_of_tiny_weights_is_one_of_equal_parts() -> None:
    assert np.allclose(coefficients("average", [1e-300, 1e-300]), [0.5, 0.5])
