"""A low-rank delta multiplied out, as merge-fp64-v1 defines it: the same bits everywhere.

    g = RN(coefficient * gamma)
    D[o, j] = g * (((0 + B[o,0] A[0,j]) + B[o,1] A[1,j]) + ...)

in float64, k ascending, with a rounding of its own for the factor g. The product of two float32
(or narrower) values is exact in float64.
"""

from __future__ import annotations

import numpy as np

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.kernels.products import add_product


def multiply_out(delta: LowRank, coefficient: float = 1.0, out: Matrix | None = None) -> Matrix:
    """Return coefficient * gamma * B A, (out, in).

    `out`, a C-contiguous float64 array of that shape, is overwritten and returned.
    """
    if out is None:
        out = np.zeros(delta.shape)
    else:
        out.fill(0.0)
    B = np.ascontiguousarray(delta.B, np.float64)
    A = np.ascontiguousarray(delta.A, np.float64)
    add_product(B, A, out)
    out *= coefficient * delta.gamma
    return out
