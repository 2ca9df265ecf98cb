"""A look at this thread's arithmetic before it is relied on.

A library that was built with `-ffast-math` can switch denormal numbers off for a whole thread, and
an emulator or an overclocked machine can be wrong in its own ways. Bits would then differ, and
nothing else would tell: so a small decomposition is compared with the bits that it must have.
"""

from __future__ import annotations

import hashlib

import numpy as np

from plait.algebra.delta import Matrix
from plait.algebra.kernels.householder import apply_q, factor
from plait.algebra.kernels.products import add_product
from plait.errors import Unavailable

GOLDEN = "8fbbd77f4f1f7e4f85e25e877b0ebdc5e5115c69be9cc39665cdcdf1b54a3309"
"""sha256 of what `_compute` returns: the same in plain Python, numba for any target, and C."""


def verify_arithmetic() -> None:
    """Check denormal numbers, and a product and a QR of known bits, in the thread that calls.

    Raises:
        Unavailable: `unavailable`, this machine's arithmetic is not IEEE 754's.
    """
    smallest = np.full(1, 2.0**-1022)
    halves = np.zeros((1, 1))
    add_product(smallest.reshape(1, 1), np.full((1, 1), 2.0**-10), halves)
    if not (smallest * 0.5 > 0.0).all() or not (halves > 0.0).all():
        raise Unavailable(
            "unavailable",
            "Denormal numbers are switched off in this process, so that sums would differ from "
            "other machines': look for a library that was built with -ffast-math, or for a call of "
            "torch.set_flush_denormal(True), and compose in a process without it.",
        )
    digest = hashlib.sha256(np.ascontiguousarray(_compute(), "<f8").tobytes()).hexdigest()
    if digest != GOLDEN:
        raise Unavailable(
            "unavailable",
            "A small decomposition came out with other bits than everywhere else, so that nothing "
            "computed here can be relied on: please report the machine and the versions of numpy "
            "and numba.",
            expected=GOLDEN,
            actual=digest,
        )


def _compute() -> Matrix:
    """Return a product and a QR of small numbers without a pattern, as one vector."""
    numbers = np.arange(1.0, 601.0) / 7.0
    X = (numbers[:300] % 3.0 - 1.25).reshape(3, 100)
    Y = (numbers[300:] % 5.0 - 2.5).reshape(100, 3)
    product = np.zeros((3, 3))
    add_product(X, Y, product)
    vectors = np.zeros((3, 1, 128))
    vectors[:, 0, :100] = X
    R, h = np.zeros((3, 3)), np.zeros(3)
    factor(vectors, 100, 0, R, h)
    image = np.ones((1, 1, 128))
    apply_q(vectors, h, image)
    return np.concatenate([product.ravel(), R.ravel(), h, image.ravel(), vectors.ravel()])
