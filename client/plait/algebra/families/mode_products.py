"""A small convolution kernel from its core and two factors, as LoHa and LoKr store it.

K[p, q, k, l] = sum_ij T[i, j, k, l] A[i, p] B[j, q], in double precision, j and i ascending.
"""

from __future__ import annotations

import numpy as np

from plait.algebra.delta import Matrix
from plait.algebra.kernels.products import multiply


def expand_core(core: Matrix, out_factor: Matrix, in_factor: Matrix) -> Matrix:
    """Return the kernel (out, in, k, l) of a core (r, r, k, l) and factors (r, out), (r, in)."""
    ranks, _, *kernel = core.shape
    along_out = multiply(out_factor.T, core.reshape(ranks, -1))  # (out, r * k * l)
    last = along_out.reshape(-1, ranks, *kernel).transpose(0, 2, 3, 1)  # (out, k, l, r)
    along_in = multiply(last.reshape(-1, ranks), in_factor)
    both = along_in.reshape(*last.shape[:3], -1)  # (out, k, l, in)
    return np.ascontiguousarray(both.transpose(0, 3, 1, 2))
