"""merge-fp64-v1: a weight and what adapters add to it, to the same bits on every machine.

    acc_i = +0.0;  for k = 0 .. r-1:  acc_i[o,j] = RN64(acc_i[o,j] + L_i[o,k] R_i[k,j])
    d_i   = RN64(g_i acc_i)             g_i = RN64(w_i gamma_i)
    S     = ((d_1 + d_2) + d_3) + ...   in the order of the adapters
    out   = RN32(RN64(W + S)), then rounded to W's dtype, both to nearest even

All in float64; `docs/merge-definitions.md` says why that is portable. L and R are the factors in
the orientation of the stored weight, so that a transposed delta (embeddings, GPT-2's Conv1D) needs
no arithmetic of its own. What is no product of thin factors is a dense term, d_i = RN64(w_i D_i).

Rows are merged in blocks, whose sizes mean nothing for the bits. A device does the blocks of terms
that are all products; dense terms are the same few operations everywhere and stay with numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plait.algebra.arrays import decode
from plait.algebra.delta import Matrix
from plait.algebra.kernels.products import add_product
from plait.algebra.rounding import round_to_bfloat16
from plait.errors import InvalidInput

DTYPES = {"F32": 4, "F16": 2, "BF16": 2}
"""Of weights that can be merged into, and the bytes of an element."""

Factor: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ProductTerm:
    """g L R, with factors that are exact in float32."""

    L: Factor
    """(rows, r), contiguous."""
    R: Factor
    """(r, columns), contiguous."""
    g: float


@dataclass(frozen=True, slots=True, eq=False)
class DenseTerm:
    """w D, already multiplied."""

    values: Matrix
    """(rows, columns)."""


Term: TypeAlias = ProductTerm | DenseTerm


@dataclass(frozen=True, slots=True)
class WeightKind:
    """The weight that is merged into, as a matrix."""

    name: str
    """Of the tensor, for messages."""
    dtype: str
    """One of `DTYPES`."""
    rows: int
    columns: int

    @property
    def row_size(self) -> int:
        """Bytes."""
        return self.columns * DTYPES[self.dtype]


RowMerge: TypeAlias = Callable[[memoryview, int], bytes | memoryview]
"""Takes whole rows of the weight, as little-endian bytes, and the number of the first one; returns
the merged rows, in memory that the next call may use again. Raises InvalidInput
`tensor-not-finite` where the weight's values are not finite."""


class MergeDevice(Protocol):
    """What merges blocks of rows."""

    @property
    def name(self) -> str:
        """What people call it, as `NVIDIA H100 80GB HBM3`."""
        ...

    @property
    def block_size(self) -> int:
        """The bytes of a block that suit it."""
        ...

    def for_thread(self) -> MergeDevice:
        """Return the device for one thread, which may merge beside others."""
        ...

    def open(self, kind: WeightKind, terms: Sequence[ProductTerm]) -> RowMerge:
        """Return what merges the rows of one weight, to be used before the next one is opened."""
        ...


def open_merge(device: MergeDevice, kind: WeightKind, terms: Sequence[Term]) -> RowMerge:
    """Return what merges the rows of a weight by one term or more, in the order of the adapters."""
    products = [term for term in terms if isinstance(term, ProductTerm)]
    if len(products) == len(terms):
        return device.open(kind, products)
    return _DenseMerge(kind, tuple(terms))


def not_finite(name: str) -> InvalidInput:
    """Return the error that a base's weight cannot be merged into."""
    return InvalidInput(
        "tensor-not-finite",
        f"The base's tensor {name} holds a NaN or an infinity: no merge with it means anything. "
        "Take an intact copy of the base.",
        tensor=name,
    )


def round_sum(weight: memoryview, total: Matrix, kind: WeightKind) -> bytes:
    """Return the last line of the definition for rows of a weight and their S.

    Raises:
        InvalidInput: `tensor-not-finite`.
    """
    values = decode(weight, kind.dtype, total.shape, precision=np.float64)
    if not np.isfinite(values).all():
        raise not_finite(kind.name)
    with np.errstate(over="ignore"):
        return round_twice(values + total, kind.dtype)


def round_twice(values: Matrix, dtype: str) -> bytes:
    """Round float64 to float32 and that to `dtype`, and return the little-endian bytes."""
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(values, "<f4")
        if dtype == "F32":
            return narrow.tobytes()
        if dtype == "F16":
            return narrow.astype("<f2").tobytes()
    return round_to_bfloat16(narrow).tobytes()


class _DenseMerge:
    """Merges rows where at least one term is dense."""

    def __init__(self, kind: WeightKind, terms: tuple[Term, ...]) -> None:
        self._kind = kind
        self._terms = terms

    def __call__(self, weight: memoryview, first: int) -> bytes:
        rows = len(weight) // self._kind.row_size
        total: Matrix | None = None
        for term in self._terms:
            part = _compute(term, first, first + rows)
            total = part if total is None else total + part
        if total is None:
            raise ValueError("a merge needs a term")
        if not np.isfinite(total).all():
            raise InvalidInput(
                "tensor-not-finite",
                f"What is added to the base's tensor {self._kind.name} is beyond the range of "
                "double precision: look at the weights of the merge and at its adapters.",
                tensor=self._kind.name,
            )
        return round_sum(weight, total, self._kind)


def _compute(term: Term, first: int, last: int) -> Matrix:
    """Return rows of d_i."""
    if isinstance(term, DenseTerm):
        return term.values[first:last]
    out = np.zeros((last - first, term.R.shape[1]))
    add_product(term.L[first:last].astype(np.float64), term.R.astype(np.float64), out)
    out *= term.g
    return out
