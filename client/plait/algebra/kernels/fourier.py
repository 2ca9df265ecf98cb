"""Discrete Fourier transforms along columns, in float64 and in one order of operations.

    y[k] = sum over j of x[j] w_n^(j k),   w_n = exp(2 pi i / n)

for n of any prime factors (J. W. Cooley and J. W. Tukey, https://doi.org/10.2307/2003354). With l
the product of the radices so far and m = n / l, a[k, t] = sum over j < l of x[t + m j] w_l^(j k).
The next radix p turns that, with l' = l p and m' = n / l', into

    a'[k, t] = sum over q = 0 .. p - 1, ascending, of w_l'^(q k) a[k mod l, t + m' q]

The innermost loop runs over t and the columns, which are separate sums.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.algebra.kernels.compiled import kernel

Matrix = NDArray[np.float64]


def transform_columns(values: Matrix, cosines: Matrix, sines: Matrix) -> Matrix:
    """Return the transform of each column of `values` (2, n, columns): real and imaginary parts.

    `values` is overwritten. The tables are cos(2 pi k / n) and sin(2 pi k / n).
    """
    _, n, columns = values.shape
    old, new = values.reshape(2, n * columns), np.empty((2, n * columns))
    length = 1
    for radix in find_prime_factors(n):
        length *= radix
        _join(old, new, radix, columns * (n // length), cosines, sines)
        old, new = new, old
    return old.reshape(2, n, columns)


def find_prime_factors(n: int) -> list[int]:
    """Return the prime factors of n, ascending."""
    factors = []
    prime = 2
    while prime * prime <= n:
        while n % prime == 0:
            factors.append(prime)
            n //= prime
        prime += 1
    return [*factors, n] if n > 1 else factors


@kernel
def _join(old: Matrix, new: Matrix, radix: int, run: int, cosines: Matrix, sines: Matrix) -> None:
    """Make a' of a: both hold rows of `run` numbers, m' for each column."""
    n = cosines.size
    rows = old.shape[1] // run  # l'
    step = n // rows  # m'
    before = rows // radix  # l
    for k in range(rows):
        target = new[:, k * run : (k + 1) * run]
        start = (k % before) * radix * run
        target[:] = old[:, start : start + run]  # q = 0: no turn
        for q in range(1, radix):
            turn = (q * k * step) % n
            source = old[:, start + q * run : start + (q + 1) * run]
            _add_turned(target, source, float(cosines[turn]), float(sines[turn]))


@kernel
def _add_turned(target: Matrix, source: Matrix, cosine: float, sine: float) -> None:
    """Add complex numbers, turned by an angle."""
    real, imaginary = source[0], source[1]
    out_real, out_imaginary = target[0], target[1]
    for j in range(real.size):
        out_real[j] = out_real[j] + (real[j] * cosine - imaginary[j] * sine)
        out_imaginary[j] = out_imaginary[j] + (real[j] * sine + imaginary[j] * cosine)
