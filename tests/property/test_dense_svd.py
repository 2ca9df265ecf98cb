# ruff: noqa: N806 - matrices have the names of the papers
"""Dense deltas cut to a rank against LAPACK: small and large sides, flat and steep spectra."""

from __future__ import annotations

import numpy as np
import pytest

from plait.algebra.dense_svd import recompress_dense
from plait.errors import InvalidInput
from reference.svd import Matrix

SHAPES = [(1, 1), (40, 64), (64, 300), (300, 64), (520, 400)]
SPECTRA = ["flat", "slow", "steep", "low-rank"]


def make_matrix(shape: tuple[int, int], spectrum: str) -> Matrix:
    rng = np.random.default_rng(1)
    smaller = min(shape)
    U = np.linalg.qr(rng.standard_normal((shape[0], smaller)))[0]
    V = np.linalg.qr(rng.standard_normal((shape[1], smaller)))[0]
    place = np.arange(smaller)
    sigma = {
        "flat": np.ones(smaller),
        "slow": 1.0 / (1.0 + place),
        "steep": 2.0**-place,
        "low-rank": np.where(place < 3, 1.0 + place, 0.0),
    }[spectrum]
    matrix: Matrix = (U * sigma) @ V.T
    return matrix


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_cut_is_as_close_as_the_best(shape: tuple[int, int], spectrum: str) -> None:
    D = make_matrix(shape, spectrum)
    rank = min(8, *shape)
    found = recompress_dense(D, rank=rank)
    sigma = np.linalg.svd(D, compute_uv=False)
    best, norm = float(np.linalg.norm(sigma[rank:])), float(np.linalg.norm(sigma))
    error = np.linalg.norm(found.B @ found.A - D)
    # A flat spectrum has no best subspace, but any is within the guarantee of block Krylov.
    assert best - 1e-12 * norm <= error <= 1.01 * best + 1e-12 * norm
    assert found.discarded_energy**0.5 == pytest.approx(error, rel=1e-6, abs=1e-7 * norm)
    if spectrum in {"steep", "low-rank"}:
        np.testing.assert_allclose(
            found.singular_values[:rank], sigma[:rank], rtol=1e-9, atol=1e-13 * norm
        )
    for row in found.A:
        assert row[np.argmax(np.abs(row))] >= 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_an_energy_finds_the_rank_that_the_spectrum_needs(shape: tuple[int, int]) -> None:
    D = make_matrix(shape, "low-rank")
    found = recompress_dense(D, energy=0.9999)
    assert found.A.shape[0] == min(3, *shape)
    assert np.linalg.norm(found.B @ found.A - D) <= 1e-12 * np.linalg.norm(D)


def test_a_small_matrix_is_kept_whole_without_a_wish() -> None:
    D = make_matrix((30, 20), "slow")
    found = recompress_dense(D)
    assert found.A.shape == (20, 20)
    assert np.linalg.norm(found.B @ found.A - D) <= 1e-13 * np.linalg.norm(D)


def test_nothing_stays_nothing() -> None:
    found = recompress_dense(np.zeros((300, 200)), rank=4)
    assert not found.B.any()
    assert not found.A.any()
    assert found.discarded_energy == 0.0


def test_the_same_bits_come_out_of_any_layout() -> None:
    D = make_matrix((520, 400), "slow")
    one, other = recompress_dense(D, rank=8), recompress_dense(np.asfortranarray(D), rank=8)
    assert one.B.tobytes() == other.B.tobytes()
    assert one.A.tobytes() == other.A.tobytes()


@pytest.mark.parametrize("rank", [0, 6])
def test_a_rank_that_cannot_be_is_refused(rank: int) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 5"):
        recompress_dense(np.ones((7, 5)), rank=rank)
