# ruff: noqa: N806 - matrices have the names of the papers
"""Recompressions of sums against LAPACK's SVD of the dense sum, on shapes and spectra of all kinds.

Errors are measured against the norm before cancellation: no method can do better in float64.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.algebra.delta import LowRank
from plait.algebra.low_rank_svd import recompress
from plait.algebra.truncation import Recompressed
from plait.errors import InvalidInput
from reference.svd import Matrix, low_rank, multiply_out_all, scale_of

TOLERANCE = 1e-13
"""Of the scale."""
SPECTRA = ("plain", "parallel", "repeated", "zero", "tiny", "huge", "mixed")


@st.composite
def sums(draw: st.DrawFn) -> list[tuple[LowRank, float]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 300))
    terms = []
    first: LowRank | None = None
    for _ in range(draw(st.integers(1, 3))):
        rank = draw(st.integers(1, 6))
        kind = draw(st.sampled_from(SPECTRA))
        B, A = rng.standard_normal((rows, rank)), rng.standard_normal((rank, columns))
        if kind == "parallel":
            B = B[:, :1] + 1e-9 * B
        elif kind == "repeated" and first is not None:
            B, A = np.asarray(first.B, np.float64), np.asarray(first.A, np.float64)
        elif kind == "zero":
            B = np.zeros_like(B)
        elif kind == "tiny":
            B, A = B * 1e-60, A * 1e-60
        elif kind == "huge":
            B = B * 1e60
        elif kind == "mixed":
            B = B * 10.0 ** rng.integers(-12, 12, rank)
        delta = low_rank(B, A, draw(st.sampled_from([1.0, 0.25, 1.0 / 3.0])))
        first = first or delta
        terms.append((delta, draw(st.sampled_from([1.0, 0.7, -0.3, -1.0, 0.0]))))
    return terms


def assert_signs(found: Recompressed) -> None:
    """The largest element of every row of A is positive."""
    for row in found.A:
        assert row[np.argmax(np.abs(row))] >= 0.0


def dense(found: Recompressed) -> Matrix:
    return found.B @ found.A


@settings(max_examples=60)
@given(sums())
def test_the_full_rank_is_the_sum(terms: list[tuple[LowRank, float]]) -> None:
    found = recompress(terms)
    scale = scale_of(terms)
    assert found.B.shape[1] == sum(delta.rank for delta, _ in terms)
    # Halves, so that no square of an error overflows where the scale does not.
    assert np.linalg.norm(dense(found) - multiply_out_all(terms)) <= TOLERANCE * scale
    expected = np.linalg.svd(multiply_out_all(terms), compute_uv=False)
    values = np.zeros(expected.size)
    known = found.singular_values[: expected.size]
    values[: known.size] = known
    assert np.max(np.abs(values - expected)) <= TOLERANCE * scale
    assert_signs(found)


@settings(max_examples=60)
@given(sums(), st.integers(1, 8))
def test_a_cut_is_as_close_as_the_best(terms: list[tuple[LowRank, float]], rank: int) -> None:
    rank = min(rank, sum(delta.rank for delta, _ in terms))
    found = recompress(terms, rank=rank)
    total, scale = multiply_out_all(terms), scale_of(terms)
    best = np.linalg.norm(np.linalg.svd(total, compute_uv=False)[rank:])
    error = np.linalg.norm(dense(found) - total)
    assert found.B.shape == (total.shape[0], rank)
    assert found.A.shape == (rank, total.shape[1])
    assert error <= best + TOLERANCE * scale
    assert abs(found.discarded_energy**0.5 - best) <= TOLERANCE * scale
    assert_signs(found)


@settings(max_examples=40)
@given(sums(), st.sampled_from([0.3, 0.9, 0.999, 1.0]))
def test_an_energy_keeps_the_least_rank_that_is_enough(
    terms: list[tuple[LowRank, float]], energy: float
) -> None:
    found = recompress(terms, energy=energy)
    rank = found.A.shape[0]
    squares = found.singular_values**2
    total = squares.sum()
    slack = 1e-12 * total
    assert squares[:rank].sum() >= energy * total - slack
    if rank > 1:
        assert squares[: rank - 1].sum() <= energy * total + slack


@settings(max_examples=30)
@given(sums())
def test_what_is_taken_away_again_leaves_exactly_nothing(
    terms: list[tuple[LowRank, float]],
) -> None:
    back = [(delta, -coefficient) for delta, coefficient in terms]
    found = recompress([*terms, *back])
    assert not found.B.any()
    assert not found.A.any()
    assert not found.singular_values.any()
    assert found.kept_energy == found.discarded_energy == 0.0


def test_equal_values_across_the_cut_are_reported() -> None:
    B, A = np.eye(6, 3), np.eye(3, 5)
    assert recompress([(low_rank(B, A), 1.0)], rank=2).is_tied
    assert not recompress([(low_rank(B * [3.0, 2.0, 1.0], A), 1.0)], rank=2).is_tied
    assert not recompress([(low_rank(B, A), 1.0)], rank=3).is_tied


def test_subnormal_factors_do_no_harm() -> None:
    B, A = np.full((4, 2), 5e-324), np.full((2, 3), 5e-324)
    found = recompress([(low_rank(B, A), 1.0)])
    assert np.isfinite(found.B).all()
    assert np.isfinite(found.A).all()
    other = low_rank(np.ones((4, 1)), np.ones((1, 3)))
    assert np.allclose(dense(recompress([(low_rank(B, A), 1.0), (other, 1.0)])), 1.0, atol=1e-14)


@pytest.mark.parametrize("rank", [0, -1, 4])
def test_a_rank_that_cannot_be_is_refused(rank: int) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 3") as caught:
        recompress([(low_rank(np.ones((6, 3)), np.ones((3, 5))), 1.0)], rank=rank)
    assert caught.value.kind == "rank-invalid"


@pytest.mark.parametrize("energy", [0.0, -0.5, 1.5, float("nan")])
def test_an_energy_that_cannot_be_is_refused(energy: float) -> None:
    with pytest.raises(InvalidInput, match="energy"):
        recompress([(low_rank(np.ones((6, 3)), np.ones((3, 5))), 1.0)], energy=energy)


def test_what_overflows_when_squared_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too large") as caught:
        recompress([(low_rank(np.full((6, 1), 1e200), np.ones((1, 5))), 1.0)])
    assert caught.value.kind == "tensor-not-finite"


def test_deltas_of_other_shapes_are_refused() -> None:
    one, other = (
        low_rank(np.ones((6, 3)), np.ones((3, 5))),
        low_rank(np.ones((6, 3)), np.ones((3, 4))),
    )
    with pytest.raises(InvalidInput, match="cannot be summed") as caught:
        recompress([(one, 1.0), (other, 1.0)])
    assert caught.value.kind == "shape-mismatch"
