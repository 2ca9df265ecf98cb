# ruff: noqa: N803 - matrices have the names of the papers
"""The look at a device before its merges are believed: each known fault is noticed."""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import numpy as np
import pytest

from plait.algebra import merge_self_test
from plait.algebra.exact_merge import (
    DTYPES,
    MergeDevice,
    ProductTerm,
    RowMerge,
    WeightKind,
    open_merge,
    round_sum,
)
from plait.algebra.merge_on_cpu import CpuMerge
from plait.algebra.merge_self_test import GOLDEN, digest_cases, verify_device
from plait.errors import Unavailable
from reference.exact_merges import Array, Stored, round_to
from reference.exact_svd import product

Compute = Callable[[Array, Sequence[ProductTerm], WeightKind], bytes]


class Imitation:
    """A device that merges by one function of whole matrices."""

    name = "imitation"
    block_size = 1 << 20

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def for_thread(self) -> "Imitation":
        return self

    def open(self, kind: WeightKind, terms: Sequence[ProductTerm]) -> RowMerge:
        def merge_rows(weight: memoryview, first: int) -> bytes:
            assert first == 0
            values = Stored(kind.dtype, (kind.rows, kind.columns), bytes(weight)).values
            return self._compute(values, terms, kind)

        return merge_rows


def multiply(term: ProductTerm) -> Array:
    return product(term.L.astype(np.float64), term.R.astype(np.float64))


def sum_terms(terms: Sequence[ProductTerm]) -> Array:
    return reduce(add, (term.g * multiply(term) for term in terms))


def by_definition(W: Array, terms: Sequence[ProductTerm], kind: WeightKind) -> bytes:
    return round_to(W + sum_terms(terms), kind.dtype)


def with_a_sum_in_single_precision(
    W: Array, terms: Sequence[ProductTerm], kind: WeightKind
) -> bytes:
    total = sum_terms([ProductTerm(t.L, t.R, float(np.float32(t.g))) for t in terms])
    return round_to(W + total.astype(np.float32).astype(np.float64), kind.dtype)


def with_g_in_a_factor(W: Array, terms: Sequence[ProductTerm], kind: WeightKind) -> bytes:
    scaled = [term.g * term.L.astype(np.float64) for term in terms]
    parts = (product(L, term.R.astype(np.float64)) for L, term in zip(scaled, terms, strict=True))
    return round_to(W + reduce(add, parts), kind.dtype)


def in_another_order(W: Array, terms: Sequence[ProductTerm], kind: WeightKind) -> bytes:
    return by_definition(W, terms[::-1], kind)


def with_g_in_single_precision(
    W: Array,
    terms: Sequence[ProductTerm],
    kind: WeightKind,
) -> bytes:
    rounded = [ProductTerm(term.L, term.R, float(np.float32(term.g))) for term in terms]
    return by_definition(W, rounded, kind)


def with_flushed_outcomes(W: Array, terms: Sequence[ProductTerm], kind: WeightKind) -> bytes:
    exact = Stored("F32", W.shape, by_definition(W, terms, WeightKind("w", "F32", *W.shape)))
    values = np.where(np.abs(exact.values) < 2.0**-126, 0.0, exact.values)
    return round_to(values, kind.dtype)


def with_flushed_weights(W: Array, terms: Sequence[ProductTerm], kind: WeightKind) -> bytes:
    smallest = 2.0**-14 if kind.dtype == "F16" else 2.0**-126
    return by_definition(np.where(np.abs(W) < smallest, 0.0, W), terms, kind)


def rounded_once(W: Array, terms: Sequence[ProductTerm], kind: WeightKind) -> bytes:
    with np.errstate(over="ignore"):
        if kind.dtype == "F16":
            return (W + sum_terms(terms)).astype("<f2").tobytes()
    return by_definition(W, terms, kind)


def test_processor_and_the_plain_definition_pass() -> None:
    verify_device(CpuMerge())
    device: MergeDevice = Imitation(by_definition)
    verify_device(device)


@pytest.mark.parametrize(
    "fault",
    [
        with_a_sum_in_single_precision,
        with_g_in_a_factor,
        with_g_in_single_precision,
        in_another_order,
        with_flushed_outcomes,
        with_flushed_weights,
        rounded_once,
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_device_with_a_fault_is_refused(fault: Compute) -> None:
    with pytest.raises(Unavailable, match="other bits on imitation") as caught:
        verify_device(Imitation(fault))
    assert caught.value.kind == "unavailable"
    assert caught.value.details["expected"] == GOLDEN


def test_dense_terms_give_the_digest_too() -> None:
    def compute(W: Array, terms: Sequence[ProductTerm], kind: WeightKind) -> bytes:
        return round_sum(memoryview(round_to(W, kind.dtype)), sum_terms(terms), kind)

    assert digest_cases(Imitation(compute)) == GOLDEN


@pytest.mark.parametrize("dtype", DTYPES)
def test_cases_of_a_dtype_hold_denormal_numbers_in_every_place(dtype: str) -> None:
    smallest = 2.0**-14 if dtype == "F16" else 2.0**-126
    found = np.zeros(3, bool)
    for kind, weight, terms in merge_self_test._list_cases():
        if kind.dtype == dtype:
            shape = kind.rows, kind.columns
            merged = bytes(open_merge(CpuMerge(), kind, terms)(memoryview(weight), 0))
            before, after = (Stored(dtype, shape, data).values for data in (weight, merged))
            assert np.isfinite(before).all()
            for place, values in enumerate((before, sum_terms(terms), after)):
                found[place] |= ((values != 0) & (np.abs(values) < smallest)).any()
    assert found.all()
