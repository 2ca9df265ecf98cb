"""The best approximation of a lower rank, from a small core between two orthogonal sides.

Steps 5 to 8 of svd-fp64-v1 (see `plait.algebra.low_rank_svd`), which all recompressions share: the
Jacobi SVD of the core, the choice of the rank, the factors and their signs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import Matrix
from plait.algebra.kernels.dots import LANES
from plait.algebra.kernels.householder import apply_q, factor
from plait.algebra.kernels.jacobi import diagonalise, find_squares
from plait.algebra.kernels.transposing import find_signs, gather_columns
from plait.errors import Internal, InvalidInput

NEGLIGIBLE = 2.0**-100
"""Squared singular values up to this part of the squared scale are exactly zero."""
TIED = 1e-12
"""Of the last kept singular value: a smaller gap after it leaves the kept subspace to rounding."""

_LINE = 8
"""Numbers of float64 in a cache line."""

Vector = NDArray[np.float64]
Blocks = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recompressed:
    """A delta as B A of rank k, with what was cut off."""

    B: Matrix
    """(out, k)."""
    A: Matrix
    """(k, in)."""
    singular_values: Vector
    """Of the delta as far as they are known, descending."""
    kept_energy: float
    """The squared norm of what was kept: the sum of its squared singular values."""
    discarded_energy: float
    """The squared norm of what was cut off."""
    is_tied: bool
    """Whether equal singular values lie across the cut, so that another choice was as good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side's vectors after QR, as `plait.algebra.kernels.householder` keeps them."""

    X: Blocks
    """The reflectors, (count, T, 128)."""
    h: Vector
    """(count,)."""
    R: Matrix
    """Columns of the triangular factor as rows, (count, min(length, count))."""
    length: int
    """Of a vector without padding."""


def pad_vectors(count: int, length: int) -> Blocks:
    """Return zeros for `count` vectors, (count, T, 128)."""
    return allocate_vectors((count, length))[0]


def allocate_vectors(*kinds: tuple[int, int]) -> list[Blocks]:
    """Return zeros for vectors of each (count, length), (count, T, 128).

    They begin at cache lines, since loads that straddle two are half as fast, and lie in one piece
    of memory: the C library keeps one piece for the next module that would return several to the
    system, which clears them anew.
    """
    shapes = [(count, -(-length // LANES), LANES) for count, length in kinds]
    sizes = [count * steps * lanes for count, steps, lanes in shapes]
    memory = np.zeros(sum(sizes) + _LINE)
    start = -(memory.ctypes.data // memory.itemsize) % _LINE
    vectors: list[Blocks] = []
    for shape, size in zip(shapes, sizes, strict=True):
        vectors.append(memory[start : start + size].reshape(shape))
        start += size
    return vectors


def factor_side(X: Blocks, length: int) -> Side:
    """Return the QR of vectors; X is overwritten."""
    count = X.shape[0]
    side = Side(X=X, h=np.zeros(count), R=np.zeros((count, min(length, count))), length=length)
    factor(X, length, 0, side.R, side.h)
    return side


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """A core after Jacobi: column r of C V is w_r = sigma_r u_r."""

    W: Matrix
    """(columns, rows padded to a multiple of 8), sorted."""
    V: Matrix
    """(columns, columns padded), in the same order."""
    sigma: Vector
    """Descending; exactly zero where it is negligible."""


def diagonalise_core(W: Matrix, scale: float) -> Spectrum:
    """Return the singular values and vectors of a core whose columns are rows of W.

    W is overwritten. `scale` is the norm that rounding errors are in proportion to.

    Raises:
        InvalidInput: `tensor-not-finite` where the scale is not finite or its square overflows.
    """
    square = scale * scale
    if not np.isfinite(square):
        raise InvalidInput(
            "tensor-not-finite",
            "A delta is not finite, or too large to be squared in float64: "
            "look at the factors and weights of this module.",
        )
    negligible = NEGLIGIBLE * square
    count = W.shape[0]
    V = np.zeros((count, -(-count // 8) * 8))
    np.fill_diagonal(V, 1.0)
    if diagonalise(W, V, negligible) < 0:
        raise Internal("internal", "The Jacobi method did not converge: please report the inputs.")
    squares = find_squares(W)
    sigma = np.where(squares > negligible, np.sqrt(squares), 0.0)
    order = np.argsort(-sigma, kind="stable")
    return Spectrum(W=W[order], V=V[order], sigma=sigma[order])


def choose_rank(sigma: Vector, *, rank: int | None, energy: float | None, most: int) -> int:
    """Return the rank of the outcome: the least that both wishes allow, at least 1.

    Neither wish gives `most`, the number of columns that went in.

    Raises:
        InvalidInput: `rank-invalid` for a rank that is not in 1 ... `most`, or an energy that is
            not in (0, 1].
    """
    if rank is not None and not 1 <= rank <= most:
        raise InvalidInput(
            "rank-invalid",
            f"The rank must be from 1 to {most}, the sum of the inputs' ranks here, "
            f"and not {rank}.",
            rank=rank,
            most=most,
        )
    if energy is None:
        return most if rank is None else rank
    if not 0.0 < energy <= 1.0:
        raise InvalidInput(
            "rank-invalid", f"The energy to keep must be over 0 and at most 1, not {energy}."
        )
    tails = sum_tails(sigma)
    allowed = (1.0 - energy) * tails[0]
    least = max(1, next(k for k, tail in enumerate(tails) if tail <= allowed))
    return least if rank is None else min(least, rank)


def sum_tails(sigma: Vector) -> list[float]:
    """Return for k = 0 ... R the squared norm of what a cut at k discards, smallest first."""
    tails = [0.0]
    for value in reversed(sigma.tolist()):
        tails.append(tails[-1] + value * value)
    return tails[::-1]


def is_tied_at(sigma: Vector, rank: int) -> bool:
    """Tell whether the singular values on both sides of the cut are as good as equal."""
    if rank >= sigma.size or sigma[rank - 1] == 0.0:
        return False
    return bool(sigma[rank - 1] - sigma[rank] < TIED * sigma[rank - 1])


def make_factors(spectrum: Spectrum, left: Side, right: Side, rank: int) -> tuple[Matrix, Matrix]:
    """Return B (out, rank) and A (rank, in); the square root of each value goes to both.

    The largest element of every row of A is positive: of equally large ones, the first.
    """
    used = min(rank, int(np.count_nonzero(spectrum.sigma)))
    roots = np.sqrt(spectrum.sigma[:used, None])  # (used, 1)
    P, T = allocate_vectors((rank, left.length), (rank, right.length))
    # The right side's reflectors were made last, and may still be in the cache.
    for vectors, side, values in (
        (T, right, spectrum.V[:used] * roots),
        (P, left, spectrum.W[:used] / roots),
    ):
        width = min(values.shape[1], side.length)
        vectors.reshape(rank, -1)[:used, :width] = values[:, :width]
        apply_q(side.X, side.h, vectors[:used])
    rows = T.reshape(rank, -1)[:, : right.length]
    signs = find_signs(rows)
    B = np.empty((left.length, rank))
    gather_columns(P.reshape(rank, -1), signs, B)
    return B, rows * signs[:, None]


def truncate(
    spectrum: Spectrum,
    left: Side,
    right: Side,
    *,
    rank: int,
) -> Recompressed:
    """Return the outcome of a cut at `rank`."""
    B, A = make_factors(spectrum, left, right, rank)
    tails = sum_tails(spectrum.sigma)
    kept = 0.0
    for value in spectrum.sigma[:rank].tolist():
        kept += value * value
    return Recompressed(
        B=B,
        A=A,
        singular_values=spectrum.sigma,
        kept_energy=kept,
        discarded_energy=tails[min(rank, len(tails) - 1)],
        is_tied=is_tied_at(spectrum.sigma, rank),
    )
