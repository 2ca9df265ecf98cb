"""layer-probe-v1: what a layer of a merged model answers to a fixed input, the same everywhere.

For a tensor W' [rows, ...] of F32, F16 or BF16 with two dimensions or more, all after the first
taken as one of n columns:

    u    = uniforms(seed 0, the tensor's name, stream 0) [n]           (`counter_random`)
    x[j] = (2 floor(2^24 u[j]) + 1 - 2^24) / 2^24                       odd, in (-1, 1)
    v[j] = f64(W'[i,j]) * f64(x[j]), and +0.0 for n <= j < P
    y[i] = v[0] after v[j] = RN64(v[j] + v[j + h]) for j < h, with h = P/2, P/4, ..., 1
    digest = sha256(y as little-endian float64)

P is the smallest power of two that is no smaller than n and 8. x has 24 significant bits, so the
products are exact; sums have one order, so they have the same bits on every machine. No x is 0, so
that one changed element of finite size shows wherever the sum does not round it away. A NaN in y is
written as 0x7FF8000000000000.

A tensor is taken as it is stored: for the [in, out] of a Conv1D this is W', not its transpose.
The digest of the weights is the stronger evidence; this one is of what a layer computes, which
another implementation can be held against. Rows come in blocks, of which none is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.counter_random import uniforms
from plait.algebra.kernels.probing import probe_bf16, probe_f16, probe_f32
from plait.algebra.merge_health import CODES, Block, find_codes, view_codes
from plait.errors import Integrity
from plait.model.ids import ObjectId

DEFINITION = "layer-probe-v1"
_Kernel: TypeAlias = Callable[[NDArray[Any], NDArray[np.float32], NDArray[np.float64]], None]
_PROBES: dict[str, _Kernel] = {"F32": probe_f32, "F16": probe_f16, "BF16": probe_bf16}
_FEWEST = 8
"""What x is padded to at least: the kernel folds eight parts at once."""


def is_probed(shape: Sequence[int], dtype: str) -> bool:
    """Tell whether the definition has a digest for tensors of this shape and dtype."""
    return len(shape) >= 2 and prod(shape) > 0 and dtype in CODES


def probe_vector(name: str, columns: int) -> NDArray[np.float32]:
    """Return x of the tensor `name`, (P,): `columns` numbers, and zeros up to a power of two."""
    padded = max(_FEWEST, 1 << (columns - 1).bit_length())
    x = np.zeros(padded, np.float32)
    whole = np.floor(uniforms(0, name, 0, columns) * 2.0**24)
    x[:columns] = (2.0 * whole + 1.0 - 2.0**24) * 2.0**-24
    return x


class LayerProbe:
    """Computes the digest of one tensor from blocks of its rows, which come in order."""

    def __init__(self, name: str, shape: Sequence[int], dtype: str) -> None:
        """Begin the tensor `name`, for which `is_probed` holds.

        Raises:
            InvalidInput: `not-mergeable`, another dtype.
        """
        self._codes = find_codes(dtype)
        self._probe = _PROBES[dtype]
        self._name = name
        self._rows, self._columns = shape[0], prod(shape[1:])
        self._x = probe_vector(name, self._columns)
        self._seen = 0
        self._digest = hashlib.sha256()

    def add(self, block: Block) -> None:
        """Look at the next block of whole rows, little-endian; nothing of it is copied.

        Raises:
            Integrity: `size-mismatch`, it ends inside a row, or there are too many rows.
        """
        codes = view_codes(block, self._codes)
        rows, rest = divmod(codes.size, self._columns)
        if rest or self._seen + rows > self._rows:
            raise self._wrong_size(self._seen + codes.size / self._columns)
        y = np.empty(rows)
        self._probe(codes.reshape(rows, self._columns), self._x, y)
        self._digest.update(np.ascontiguousarray(y, "<f8").data)
        self._seen += rows

    def finish(self) -> ObjectId:
        """Return the digest.

        Raises:
            Integrity: `size-mismatch`, rows are missing.
        """
        if self._seen != self._rows:
            raise self._wrong_size(self._seen)
        return ObjectId(self._digest.hexdigest())

    def _wrong_size(self, actual: float) -> Integrity:
        return Integrity(
            "size-mismatch",
            f"A probe of {self._name!r:.200} needs {self._rows} rows and was given {actual:g}.",
            tensor=self._name,
            expected=self._rows,
            actual=actual,
        )
