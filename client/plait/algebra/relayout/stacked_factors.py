"""Factors of one matrix that is several modules: taken apart by rows of B, and put together again.

    [q; k; v] + gamma B A   =   q + gamma B_q A,  k + gamma B_k A,  v + gamma B_v A

Apart, each module gets a copy of A and its rows of B. Together, copies of one A stay one A; factors
of their own are stacked, A below A and B beside B with zeros between (their ranks add up). Bytes
move and zeros come in; no value is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plait.algebra.outcome import EncodedTensor
from plait.errors import InvalidInput
from plait.model.key_layouts.forms import Arrangement

_MLP_RATIO = 4
"""Rows of the MLP over `in`, in Flux: needed only where a LoRA leaves the MLP out."""
_SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}
"""Dtypes in which zero bytes are zero, and their sizes."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The factors of one module, with any names."""

    A: EncodedTensor
    """(r, in)"""
    B: EncodedTensor
    """(out, r)"""

    @property
    def rank(self) -> int:
        """Of the factors."""
        return self.A.shape[0]


def take_apart(pair: Pair, arrangement: Arrangement, *, parts: int, name: str) -> list[Pair]:
    """Return the factors of each of the modules that `pair` is for, in the order of its rows.

    Raises:
        InvalidInput: `shape-mismatch`, the rows of B do not divide so.
    """
    rows, width = pair.B.shape[0], pair.A.shape[1] if len(pair.A.shape) > 1 else 0
    if arrangement is Arrangement.PLAIN:
        return [pair]
    if arrangement is Arrangement.MODULATION:
        arrangement = Arrangement.SWAPPED if rows == 2 * width else Arrangement.PLAIN
        return take_apart(pair, arrangement, parts=parts, name=name)
    codes = _rows(pair.B)
    if arrangement is Arrangement.SWAPPED:
        if rows % 2:
            raise _no_division(name, rows, width)
        swapped = np.concatenate([codes[rows // 2 :], codes[: rows // 2]])
        return [Pair(pair.A, replace(pair.B, data=swapped.tobytes()))]
    sizes = _sizes(rows, width, arrangement, parts=parts)
    if sizes is None:
        raise _no_division(name, rows, width)
    ends = np.cumsum(sizes)
    return [
        Pair(
            pair.A,
            replace(
                pair.B,
                shape=(size, *pair.B.shape[1:]),
                data=codes[end - size : end].tobytes(),
            ),
        )
        for size, end in zip(sizes, ends.tolist(), strict=True)
    ]


def put_together(pairs: Sequence[Pair | None], arrangement: Arrangement, *, name: str) -> Pair:
    """Return the factors of the one matrix that `pairs` are for, in the order of its rows.

    None stands for a module that is not adapted: its rows of B are zero. The ranks add up unless
    all pairs share one A.

    Raises:
        InvalidInput: `shape-mismatch`, the factors differ in dtype or width, or in rows.
    """
    present = [pair for pair in pairs if pair is not None]
    if len(pairs) == 1:
        # Swapping halves is its own inverse.
        return take_apart(present[0], arrangement, parts=1, name=name)[0]
    first = present[0]
    _verify_alike(present, name)
    width = first.A.shape[1]
    sizes = [width] * len(pairs)
    if arrangement is Arrangement.STACKED_WITH_MLP:
        mlp = pairs[-1]
        sizes[-1] = _MLP_RATIO * width if mlp is None else mlp.B.shape[0]
    found = [None if pair is None else pair.B.shape[0] for pair in pairs]
    if any(rows not in {None, size} for rows, size in zip(found, sizes, strict=True)):
        raise InvalidInput(
            "shape-mismatch",
            f"The modules of {name} are one matrix in this layout, of {sizes} rows, and their "
            f"factors have {found}.",
            module=name,
        )
    is_shared = len({(pair.A.shape, pair.A.data) for pair in present}) == 1
    rank = first.rank if is_shared else sum(pair.rank for pair in present)
    codes = np.zeros((sum(sizes), rank * _SIZES[first.B.dtype]), np.uint8)
    row = column = 0
    for pair, size in zip(pairs, sizes, strict=True):
        if pair is not None:
            own = _rows(pair.B)
            codes[row : row + size, column : column + own.shape[1]] = own
            column += 0 if is_shared else own.shape[1]
        row += size
    stacked = first.A.data if is_shared else b"".join(pair.A.data for pair in present)
    return Pair(
        replace(first.A, shape=(rank, width), data=stacked),
        replace(first.B, shape=(sum(sizes), rank), data=codes.tobytes()),
    )


def _verify_alike(present: Sequence[Pair], name: str) -> None:
    dtypes = {tensor.dtype for pair in present for tensor in (pair.A, pair.B)}
    widths = {pair.A.shape[1:] for pair in present}
    is_matrix = all(len(pair.B.shape) == 2 for pair in present)
    if len(dtypes) > 1 or len(widths) > 1 or not is_matrix or not dtypes <= set(_SIZES):
        raise InvalidInput(
            "shape-mismatch",
            f"The modules of {name} are one matrix in this layout, and their factors differ in "
            f"dtype ({', '.join(sorted(dtypes))}) or width: cast them to one dtype first.",
            module=name,
        )


def _rows(tensor: EncodedTensor) -> NDArray[np.uint8]:
    """Return a tensor's bytes, one row for each of its first dimension."""
    return np.frombuffer(tensor.data, np.uint8).reshape(tensor.shape[0], -1)


def _sizes(rows: int, width: int, arrangement: Arrangement, *, parts: int) -> list[int] | None:
    """Return the rows of each module; None where they do not come out."""
    sizes = [width] * parts
    if arrangement is Arrangement.STACKED_WITH_MLP:
        sizes[-1] = rows - (parts - 1) * width
    return sizes if width > 0 and min(sizes) > 0 and sum(sizes) == rows else None


def _no_division(name: str, rows: int, width: int) -> InvalidInput:
    return InvalidInput(
        "shape-mismatch",
        f"The factors of {name} have {rows} rows and {width} columns, which cannot be those of the "
        "modules that it stands for.",
        module=name,
    )
