"""A look at a device before its merges are believed: small weights whose merges are known.

They hold what other machines trip over: denormal numbers in every place, sums that cancel, halfway
cases of both last roundings, minus zero, overflow, a gamma that float32 does not have, and terms
whose order shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import Matrix
from plait.algebra.exact_merge import MergeDevice, ProductTerm, WeightKind, open_merge
from plait.algebra.kernels.self_test import verify_arithmetic
from plait.errors import Unavailable

GOLDEN = "1336c305b2c0c921b5a770cb84d61e17394e0a4ae82a5cbc0be5bebf2a1f4e14"
"""sha256 over the merges of `_list_cases`: the same by plain numpy, numba, and Triton."""
_ROWS, _COLUMNS = 37, 53
_RANKS = (1, 41, 8)


def verify_device(device: MergeDevice) -> None:
    """Check this thread's arithmetic, and the device's, against known bits.

    Raises:
        Unavailable: `unavailable`, something here computes in another way than IEEE 754.
    """
    verify_arithmetic()
    actual = digest_cases(device)
    if actual != GOLDEN:
        raise Unavailable(
            "unavailable",
            f"A small merge came out with other bits on {device.name} than everywhere else, so "
            "that no digest made here means anything: are denormal numbers switched off in this "
            "process (torch.set_flush_denormal, a library built with -ffast-math)? Merge on "
            "another device (--device cpu) or machine.",
            expected=GOLDEN,
            actual=actual,
        )


def digest_cases(device: MergeDevice) -> str:
    """Return the digest over what a device makes of all cases."""
    digest = hashlib.sha256()
    for kind, weight, terms in _list_cases():
        digest.update(open_merge(device, kind, terms)(memoryview(weight), 0))
    return digest.hexdigest()


def _list_cases() -> Iterator[tuple[WeightKind, bytes, list[ProductTerm]]]:
    for dtype, codes in (("F32", "<u4"), ("BF16", "<u2"), ("F16", "<u2")):
        kind = WeightKind("self-test", dtype, _ROWS, _COLUMNS)
        yield kind, _make_weight(dtype, codes), [_make_term(index) for index in range(3)]
        # Weights, changes and outcomes that are all denormal.
        small = 2.0**-16 if dtype == "F16" else 2.0**-128
        yield kind, _make_denormal_weight(dtype, codes), [replace(_make_term(1), g=small)]
        # The first two cancel: added in another order, they take most of the third with them.
        first, third = _make_term(1), _make_term(2)
        terms = [replace(first, g=1e12), replace(first, g=-1e12), replace(third, g=1.0)]
        yield kind, bytes(kind.rows * kind.row_size), terms


def _make_weight(dtype: str, codes: str) -> bytes:
    """Return codes spread over all exponents, with both zeros, but nothing that is not finite."""
    width = np.dtype(codes).itemsize * 8
    exponent = {"F32": 0x7F800000, "BF16": 0x7F80, "F16": 0x7C00}[dtype]
    mixed = _mix(_ROWS * _COLUMNS, 11) >> np.uint64(64 - width)
    mixed[:4] = 0, 1 << (width - 1), 1, (1 << (width - 1)) | 1  # +0, -0, the smallest of each sign
    is_bad = (mixed & np.uint64(exponent)) == exponent
    mixed[is_bad] &= np.uint64(exponent >> 1 | (1 << (width - 1)))
    return mixed.astype(codes).tobytes()


def _make_denormal_weight(dtype: str, codes: str) -> bytes:
    width = np.dtype(codes).itemsize * 8
    fraction = {"F32": 23, "BF16": 7, "F16": 10}[dtype]
    mixed = _mix(_ROWS * _COLUMNS, 12) >> np.uint64(64 - width)
    mixed &= np.uint64((1 << (width - 1)) | ((1 << fraction) - 1))
    return mixed.astype(codes).tobytes()


def _make_term(index: int) -> ProductTerm:
    """Return factors whose exponents differ by term, from denormal numbers to large ones.

    In the second, pairs of ranks add something large and take it back, so that the small sum
    before them keeps few of its bits: added in another order, or with one rounding for several
    products, it would keep others.
    """
    rank = _RANKS[index]
    scale = (2.0**-130, 1.0 / 3.0, 2.0**-8)[index]
    L = _make_factor((_ROWS, rank), scale, seed=2 * index + 1)
    R = _make_factor((rank, _COLUMNS), scale, seed=2 * index + 2)
    if index == 1:
        L[:, 1:] *= np.ldexp(1.0, 22 + np.arange(rank - 1) // 4)
        L[:, 2::2] = L[:, 1::2]
        R[2::2] = -R[1::2]
    g = (-(2.0**120), 0.1, -1e-9)[index]
    return ProductTerm(np.ascontiguousarray(L, np.float32), np.ascontiguousarray(R, np.float32), g)


def _make_factor(shape: tuple[int, int], scale: float, *, seed: int) -> Matrix:
    """Return numbers between -scale and scale."""
    mixed = _mix(shape[0] * shape[1], seed) >> np.uint64(40)
    values: Matrix = (mixed.astype(np.float64) / 2.0**23 - 1.0) * scale
    return values.reshape(shape)


def _mix(size: int, seed: int) -> NDArray[np.uint64]:
    """Return 64-bit integers without a pattern: splitmix64 of a counter, https://prng.di.unimi.it/."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, size + 1, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
