# ruff: noqa: N803, N806 - matrices have the names of the papers
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.delta import LowRank, Placement
from plait.algebra.dense_delta import multiply_out
from plait.algebra.gram import gram
from plait.algebra.kernels.products import multiply

Matrix = NDArray[np.float64]


def multiply_plainly(X: Matrix, Y: Matrix) -> Matrix:
    out = np.zeros((X.shape[0], Y.shape[1]))
    for k in range(X.shape[1]):
        out = out + np.multiply.outer(X[:, k], Y[k])
    return out


def make_delta(rng: np.random.Generator, dtype: Any = np.float32) -> LowRank:
    return LowRank(
        B=rng.standard_normal((9, 3)).astype(dtype),
        A=rng.standard_normal((3, 200)).astype(dtype),
        gamma=0.7,
        placement=Placement(),
    )


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (4, 4, 4), (5, 67, 513), (3, 130, 3), (8, 64, 512), (2, 0, 3), (0, 2, 2)]
)
def test_products_sum_their_terms_in_order(shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    assert multiply(X, Y).tobytes() == multiply_plainly(X, Y).tobytes()


def test_strided_and_narrow_operands_give_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((6, 5)), rng.standard_normal((7, 6))
    found = multiply(X.T[:, ::-1], Y.T)
    assert found.tobytes() == multiply_plainly(X.T[:, ::-1].copy(), Y.T.copy()).tobytes()


def test_multiplying_out_rounds_the_factor_once() -> None:
    delta = make_delta(np.random.default_rng(3))
    exact = multiply_plainly(delta.B.astype(np.float64), delta.A.astype(np.float64))
    out = np.full(delta.shape, np.nan)
    assert multiply_out(delta, 0.3, out) is out
    assert out.tobytes() == (exact * (0.3 * 0.7)).tobytes()


def test_gram_is_symmetric_and_that_of_the_dense_deltas() -> None:
    rng = np.random.default_rng(4)
    one, other = make_delta(rng), make_delta(rng, np.float16)
    dense = rng.standard_normal(one.shape)
    found = gram([one, other, dense, one])
    flat = [multiply_out(one), multiply_out(other), dense, multiply_out(one)]
    expected = [[float((x * y).sum()) for y in flat] for x in flat]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert found.tobytes() == found.T.copy().tobytes()
    assert found[0].tobytes() == found[3].tobytes()
