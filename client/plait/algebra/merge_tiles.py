"""The Triton kernel of merge-fp64-v1; `merge_on_cuda` says how its parts keep the bits.

Triton compiles these functions from their source, and types their parameters by the arguments.
"""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def merge_tiles(  # type: ignore[no-untyped-def]  # noqa: ANN201, PLR0913, PLR0917
    W,  # noqa: ANN001
    out,  # noqa: ANN001
    L,  # noqa: ANN001
    R,  # noqa: ANN001
    numbers,  # noqa: ANN001
    is_bad,  # noqa: ANN001
    rows,  # noqa: ANN001
    columns,  # noqa: ANN001
    ranks,  # noqa: ANN001
    terms: tl.constexpr,
    blocks: tl.constexpr,
    uses_tensor_cores: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    RANKS: tl.constexpr,
):
    """Merge one tile of ROWS x COLUMNS.

    L is (rows, ranks) and R (ranks, columns), in float64; `numbers` holds g of each term, then the
    rank at which each begins, and their end. `blocks` of ranks are known beforehand where there is
    one term of few.
    """
    i = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    j = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (i < rows)[:, None] & (j < columns)[None, :]
    place = i.to(tl.int64)[:, None] * columns + j[None, :]
    weight = tl.load(W + place, mask=inside, other=0.0)
    total = tl.zeros((ROWS, COLUMNS), tl.float64)
    for term in tl.static_range(terms):
        acc = tl.zeros((ROWS, COLUMNS), tl.float64)
        first = tl.load(numbers + terms + term).to(tl.int32)
        last = tl.load(numbers + terms + term + 1).to(tl.int32)
        if uses_tensor_cores and blocks > 0:
            for block in tl.static_range(blocks):
                k = block * RANKS + tl.arange(0, RANKS)
                acc = _add_products(acc, L, R, i, j, k, rows, columns, ranks)
        elif uses_tensor_cores:
            for start in tl.range(first, last, RANKS):
                k = start + tl.arange(0, RANKS)
                acc = _add_products(acc, L, R, i, j, k, rows, columns, ranks)
        else:
            for rank in tl.range(first, last, loop_unroll_factor=4):
                one = tl.load(L + i * ranks + rank, mask=i < rows, other=0.0)
                other = tl.load(R + rank * columns + j, mask=j < columns, other=0.0)
                acc = tl.fma(one[:, None], other[None, :], acc)
        part = tl.load(numbers + term) * acc
        # The first one is not added to zero: that would lose the sign of -0.0.
        total = part if term == 0 else total + part
    merged = (weight.to(tl.float64) + total).to(tl.float32)
    tl.store(out + place, merged.to(out.dtype.element_ty), mask=inside)
    wide = weight.to(tl.float32)
    # An infinity or a NaN minus itself is not zero.
    is_bad_row = tl.sum(wide - wide, axis=1) != 0.0
    tl.store(is_bad + tl.zeros((ROWS,), tl.int32), 1, mask=is_bad_row)


@triton.jit
def _add_products(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0913, PLR0917
    acc,  # noqa: ANN001
    L,  # noqa: ANN001
    R,  # noqa: ANN001
    i,  # noqa: ANN001
    j,  # noqa: ANN001
    k,  # noqa: ANN001
    rows,  # noqa: ANN001
    columns,  # noqa: ANN001
    ranks,  # noqa: ANN001
):
    """Return acc and the products of the ranks k, on the tensor cores."""
    left = tl.load(L + i[:, None] * ranks + k[None, :], mask=(i < rows)[:, None], other=0.0)
    right = tl.load(R + k[:, None] * columns + j[None, :], mask=(j < columns)[None, :], other=0.0)
    return tl.dot(left, right, acc, out_dtype=tl.float64)
