# ruff: noqa: N806 - matrices have the names of the papers
"""Rows of a weight merged by the kernels and by numpy: the bits of the definition."""

import math
import struct
from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.exact_merge import (
    DTYPES,
    DenseTerm,
    ProductTerm,
    Term,
    WeightKind,
    open_merge,
    round_twice,
)
from plait.algebra.kernels import merging
from plait.algebra.merge_devices import open_device
from plait.algebra.merge_on_cpu import CpuMerge
from plait.errors import InvalidInput
from reference.exact_merges import Stored, round_to
from reference.exact_svd import product
from reference.made_merges import encode, numbers

Floats = NDArray[np.float32]


def term(rows: int, rank: int, columns: int, g: float = 0.37, seed: int = 1) -> ProductTerm:
    return ProductTerm(numbers(rows, rank, seed=seed), numbers(rank, columns, seed=seed + 50), g)


def merge_rows(weight: bytes, kind: WeightKind, terms: Sequence[Term]) -> bytes:
    return bytes(open_merge(CpuMerge(), kind, terms)(memoryview(weight), 0))


def by_definition(weight: bytes, kind: WeightKind, terms: Sequence[Term]) -> bytes:
    """Return what the definition says, with whole matrices of doubles."""
    parts = []
    for item in terms:
        if isinstance(item, DenseTerm):
            parts.append(item.values)
        else:
            L, R = item.L.astype(np.float64), item.R.astype(np.float64)
            parts.append(item.g * product(L, R))
    total = reduce(add, parts)
    W = Stored(kind.dtype, (kind.rows, kind.columns), weight).values
    return round_to(W + total, kind.dtype)


def one_number(weight: float, change: float, dtype: str) -> float:
    """Return what becomes of one number, as a product and as a dense term, which are the same."""
    kind = WeightKind("w", dtype, 1, 1)
    data = encode(np.array([[weight]], np.float32), dtype)
    dense = merge_rows(data, kind, [DenseTerm(np.array([[change]]))])
    one = np.ones((1, 1), np.float32)
    assert merge_rows(data, kind, [ProductTerm(one, one, change)]) == dense
    return float(Stored(dtype, (), dense).values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "ranks", "columns"),
    [
        (1, [1], 1),
        (3, [4], 511),
        (4, [5], 512),
        (5, [8, 1], 513),
        (9, [3, 7, 2], 1_030),
        (6, [130], 9),
    ],
)
def test_kernels_give_the_bits_of_the_definition(
    dtype: str, rows: int, ranks: list[int], columns: int
) -> None:
    kind = WeightKind("w", dtype, rows, columns)
    weight = encode(numbers(rows, columns, seed=99), dtype)
    terms = [term(rows, rank, columns, seed=rank) for rank in ranks]
    assert merge_rows(weight, kind, terms) == by_definition(weight, kind, terms)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dense_term_among_products_keeps_the_order(dtype: str) -> None:
    kind = WeightKind("w", dtype, 5, 13)
    weight = encode(numbers(5, 13, seed=99), dtype)
    terms: list[Term] = [
        term(5, 3, 13, g=1e12),
        DenseTerm(-1e12 * product(*(side.astype(np.float64) for side in _sides()))),
        term(5, 2, 13, seed=7),
    ]
    first = merge_rows(weight, kind, terms)
    assert first == by_definition(weight, kind, terms)
    assert merge_rows(weight, kind, terms[::-1]) != first


def _sides() -> tuple[Floats, Floats]:
    item = term(5, 3, 13)
    return item.L, item.R


@pytest.mark.parametrize("columns", [1, 3, 512])
def test_tiles_of_any_width_give_the_same_bits(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = WeightKind("w", "F32", 6, 23)
    weight = encode(numbers(6, 23, seed=99), "F32")
    item = term(6, 5, 23)
    expected = merge_rows(weight, kind, [item])
    # Constants are compiled into a kernel: only the plain Python of it sees another one.
    for name in ("_sum_terms", "_add_four_ranks", "_add_single_ranks"):
        monkeypatch.setattr(merging, name, getattr(merging, name).py_func)
    monkeypatch.setattr(merging, "COLUMNS", columns)
    out = np.empty((6, 23), np.float32)
    W = np.frombuffer(weight, np.float32).reshape(6, 23)
    starts, g = np.array([0, 5]), np.array([item.g])
    assert merging.merge_f32.py_func(W, out, item.L, item.R, starts, g)  # type: ignore[attr-defined]
    assert out.tobytes() == expected


def test_rows_from_the_middle_are_those_of_the_whole() -> None:
    kind = WeightKind("w", "BF16", 11, 7)
    weight = encode(numbers(11, 7, seed=99), "BF16")
    for terms in ([term(11, 3, 7)], [DenseTerm(numbers(11, 7, seed=5).astype(np.float64))]):
        whole = merge_rows(weight, kind, terms)
        part = open_merge(CpuMerge(), kind, terms)(memoryview(weight)[3 * 14 : 8 * 14], 3)
        assert bytes(part) == whole[3 * 14 : 8 * 14]


@pytest.mark.parametrize(
    ("dtype", "weight", "change", "expected"),
    [
        # A tie of the second rounding that only the first one makes: one step would round up.
        ("BF16", 1.0, 2.0**-8 + 2.0**-30, 1.0),
        ("F16", 1.0, 2.0**-11 + 2.0**-40, 1.0),
        ("BF16", 1.0, 2.0**-8 + 2.0**-22, 1.0 + 2.0**-7),
        ("F32", 1.0, 2.0**-24, 1.0),
        ("F32", 1.0, 2.0**-24 + 2.0**-40, 1.0 + 2.0**-23),
        # Subnormal numbers of each dtype.
        ("F32", 2.0**-149, 2.0**-149, 2.0**-148),
        ("BF16", 2.0**-133, 2.0**-133, 2.0**-132),
        ("F16", 2.0**-24, 2.0**-25, 2.0**-23),  # a tie, to even
        ("F16", 2.0**-14, -(2.0**-24), 2.0**-14 - 2.0**-24),
        # Beyond the range.
        ("F16", 65_504.0, 16.0, math.inf),
        ("F16", 65_504.0, 15.9, 65_504.0),
        ("BF16", 3.0e38, 3.0e38, math.inf),
        ("F32", -3.0e38, -3.0e38, -math.inf),
        # A change that is too small to be seen.
        ("F32", 1.0, 2.0**-1074, 1.0),
    ],
)
def test_numbers_are_rounded_to_single_and_then_to_the_dtype(
    dtype: str, weight: float, change: float, expected: float
) -> None:
    assert one_number(weight, change, dtype) == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_minus_zero_stays_where_nothing_but_minus_zero_is_added(dtype: str) -> None:
    assert math.copysign(1.0, one_number(-0.0, -0.0, dtype)) == -1.0
    assert math.copysign(1.0, one_number(-0.0, 0.0, dtype)) == 1.0
    assert math.copysign(1.0, one_number(0.0, -0.0, dtype)) == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [[term(5, 2, 9)], [DenseTerm(np.ones((5, 9)))]])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weight_that_is_not_finite_is_named(dtype: str, terms: list[Term], bad: float) -> None:
    W = numbers(5, 9, seed=3)
    W[4, 8] = bad
    kind = WeightKind("model.q.weight", dtype, 5, 9)
    with pytest.raises(InvalidInput, match=r"model\.q\.weight holds a NaN") as caught:
        merge_rows(encode(W, dtype), kind, terms)
    assert caught.value.kind == "tensor-not-finite"


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_sum_beyond_the_range_of_doubles_is_refused(value: float) -> None:
    kind = WeightKind("model.q.weight", "F32", 1, 2)
    with pytest.raises(InvalidInput, match=r"model\.q\.weight is beyond the range"):
        merge_rows(bytes(8), kind, [DenseTerm(np.array([[1.0, value]]))])


def test_rounding_of_all_16_bit_codes_gives_them_back() -> None:
    for dtype in ("F16", "BF16"):
        data = np.arange(1 << 16, dtype="<u2").tobytes()
        with np.errstate(invalid="ignore"):
            values = Stored(dtype, (1 << 16,), data).values
        is_finite = np.isfinite(values)
        back = np.frombuffer(round_twice(values[is_finite], dtype), "<u2")
        assert (back == np.arange(1 << 16)[is_finite]).all()


def test_rounding_agrees_with_the_struct_module_on_halfway_cases() -> None:
    halves = np.arange(0, 1 << 15, 7, dtype=np.uint16).view(np.float16).astype(np.float64)
    halves = halves[np.isfinite(halves)]
    middles = (halves[1:] + halves[:-1]) / 2
    expected = b"".join(struct.pack("<e", value) for value in middles.tolist())
    assert round_twice(middles, "F16") == expected


def test_device_is_found_by_name() -> None:
    assert open_device("cpu").name == "cpu"
    with pytest.raises(InvalidInput, match="'gpu0' is no device"):
        open_device("gpu0")
