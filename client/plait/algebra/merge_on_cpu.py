"""merge-fp64-v1 on the processor: one fused pass over rows, by a numba kernel without the GIL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from plait.algebra.exact_merge import DTYPES, ProductTerm, RowMerge, WeightKind, not_finite
from plait.algebra.kernels.merging import merge_bf16, merge_f32


class CpuMerge:
    """The port's implementation for the processor: a `MergeDevice` for any number of threads."""

    name = "cpu"
    block_size = 1 << 20
    """A block of weight, its outcome, and a tile's sums stay in the second-level cache."""

    def for_thread(self) -> CpuMerge:
        """Return itself: it holds nothing."""
        return self

    def open(self, kind: WeightKind, terms: Sequence[ProductTerm]) -> RowMerge:
        """Return what merges the rows of one weight."""
        return _Rows(kind, terms)


class _Rows:
    """One weight's factors side by side, and memory for a block of its rows."""

    def __init__(self, kind: WeightKind, terms: Sequence[ProductTerm]) -> None:
        self._kind = kind
        self._L = np.ascontiguousarray(np.concatenate([term.L for term in terms], axis=1))
        self._R = np.ascontiguousarray(np.concatenate([term.R for term in terms]))  # (r, columns)
        ranks = [term.R.shape[0] for term in terms]
        self._starts = np.array([0, *accumulate(ranks)], np.int64)
        self._g = np.array([term.g for term in terms])
        self._out = bytearray()

    def __call__(self, weight: memoryview, first: int) -> memoryview:
        if len(self._out) < len(weight):
            self._out = bytearray(len(weight))
        out = memoryview(self._out)[: len(weight)]
        rows = len(weight) // self._kind.row_size
        if not _MERGE[self._kind.dtype](self, weight, out, self._L[first : first + rows]):
            raise not_finite(self._kind.name)
        return out

    def merge_codes(self, weight: memoryview, out: memoryview, L: np.ndarray) -> bool:
        """Merge bfloat16, whose codes numpy knows as integers."""
        shape = (L.shape[0], self._kind.columns)
        source, target = (np.frombuffer(data, "<u2").reshape(shape) for data in (weight, out))
        return bool(merge_bf16(source, target, L, self._R, self._starts, self._g))

    def merge_floats(self, weight: memoryview, out: memoryview, L: np.ndarray) -> bool:
        """Merge float32, or float16 by way of it, which is exact on the way in."""
        shape = (L.shape[0], self._kind.columns)
        width = DTYPES[self._kind.dtype]
        source, target = (np.frombuffer(d, f"<f{width}").reshape(shape) for d in (weight, out))
        if width == 4:
            return bool(merge_f32(source, target, L, self._R, self._starts, self._g))
        wide = np.empty(shape, np.float32)
        is_finite = merge_f32(source.astype(np.float32), wide, L, self._R, self._starts, self._g)
        with np.errstate(over="ignore"):
            target[:] = wide
        return bool(is_finite)


_MERGE: dict[str, Callable[[_Rows, memoryview, memoryview, np.ndarray], bool]] = {
    "BF16": _Rows.merge_codes,
    "F16": _Rows.merge_floats,
    "F32": _Rows.merge_floats,
}
