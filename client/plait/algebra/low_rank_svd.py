"""A weighted sum of low-rank deltas cut to a rank, without the dense matrix: svd-fp64-v1.

    D = sum_p g_p B[:,p] A[p,:]      over the R columns of all terms, in their order
      ~ B' A'                        the best approximation of rank k (Eckart and Young)

All in float64 with + - * / sqrt abs and comparisons, so that the bits are the same everywhere:

1. Keep the columns of B and the rows of A as float64 rows, unscaled.
2. QR of each side by Householder reflectors (`kernels.householder`).
3. The core C = R_B diag(g) R_A^T, R x R (`kernels.cores`).
4. The scale before any cancellation; what is below 2^-50 of it is zero, so A - A is exactly zero.
5. One-sided Jacobi on C (`kernels.jacobi`), 6. singular values, 7. factors, 8. signs
   (`plait.algebra.truncation`).

The order of the terms is part of the definition. Costs O((m + n) R^2 + R^3); memory: the factors of
one module in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plait.algebra.delta import LowRank
from plait.algebra.kernels.cores import find_scale, form_core
from plait.algebra.kernels.transposing import store_columns
from plait.algebra.truncation import (
    Recompressed,
    Side,
    Vector,
    allocate_vectors,
    choose_rank,
    diagonalise_core,
    factor_side,
    truncate,
)
from plait.errors import InvalidInput


def recompress(
    terms: Sequence[tuple[LowRank, float]], *, rank: int | None = None, energy: float | None = None
) -> Recompressed:
    """Return sum of coefficient_i * D_i, cut to `rank` or to the least rank that keeps `energy`.

    With neither it keeps all R columns. With both, the lower rank counts. `singular_values` are all
    that the sum has.

    Raises:
        InvalidInput: `rank-invalid` for a rank that is 0 or above the sum of the inputs' ranks;
            `shape-mismatch`; `tensor-not-finite`.
    """
    shape = _verify_shapes([delta for delta, _ in terms])
    total = sum(delta.rank for delta, _ in terms)
    left, right = allocate_vectors((total, shape[0]), (total, shape[1]))
    g = np.empty(total)
    start = 0
    for delta, coefficient in terms:
        stop = start + delta.rank
        store_columns(delta.B, left.reshape(total, -1)[start:stop])
        right.reshape(total, -1)[start:stop, : shape[1]] = delta.A
        g[start:stop] = coefficient * delta.gamma
        start = stop
    return truncate_product(
        factor_side(left, shape[0]), g, factor_side(right, shape[1]), rank=rank, energy=energy
    )


def truncate_product(
    left: Side, g: Vector, right: Side, *, rank: int | None, energy: float | None
) -> Recompressed:
    """Return the sum over p of g_p times the p-th vectors of both sides, cut; as `recompress`."""
    rows, columns = left.R.shape[1], right.R.shape[1]
    W = np.zeros((columns, -(-rows // 8) * 8))
    form_core(left.R, g, right.R, W[:, :rows])
    spectrum = diagonalise_core(W, find_scale(left.R, g, right.R))
    chosen = choose_rank(spectrum.sigma, rank=rank, energy=energy, most=g.size)
    return truncate(spectrum, left, right, rank=chosen)


def _verify_shapes(deltas: Sequence[LowRank]) -> tuple[int, int]:
    if not deltas:
        raise InvalidInput("invalid-input", "There is no delta to recompress: name an adapter.")
    shapes = {delta.shape for delta in deltas}
    if len(shapes) > 1:
        raise InvalidInput(
            "shape-mismatch",
            f"Deltas of the shapes {sorted(shapes)} cannot be summed: "
            "use adapters of one base model.",
        )
    return deltas[0].shape
