"""An adapter in another dtype, and how far rounding moved it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from plait.algebra.adapter_tensors import AdapterTensors, TensorKind
from plait.algebra.cast import cast_tensor
from plait.algebra.rounding import encode
from plait.errors import InvalidInput
from reference.compositions import adapter, values

NAME = "base_model.model.norm.weight"
NUMBERS = np.array([[1.0, 1.0 + 2.0**-8, -3.0], [2.0**-130, 0.0, 65504.0]])


def held(dtype: str, numbers: object = NUMBERS) -> AdapterTensors:
    return adapter("team/a@1", {"norm.weight": np.asarray(numbers)}, dtype)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_values_are_rounded_once_to_nearest_even(dtype: str) -> None:
    tensor, report = cast_tensor(held("F64"), NAME, dtype)
    assert (tensor.name, tensor.dtype, tensor.shape) == (NAME, dtype, (2, 3))
    assert tensor.data == encode(NUMBERS, dtype)
    assert report is not None
    moved = np.linalg.norm(values(tensor) - NUMBERS)
    assert report.rounding == pytest.approx(moved / np.linalg.norm(NUMBERS))
    assert report.norm == pytest.approx(np.linalg.norm(NUMBERS))


def test_half_way_case_goes_to_the_even_one() -> None:
    # 1 + 2^-8 lies between 1 and 1 + 2^-7, and 1 is even.
    tensor, _ = cast_tensor(held("F32", [1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8]), NAME, "BF16")
    assert np.array_equal(values(tensor), [1.0, 1.0 + 2.0**-6])


def test_cast_to_more_digits_moves_nothing() -> None:
    tensor, report = cast_tensor(held("BF16"), NAME, "F32")
    assert np.array_equal(values(tensor), held("BF16").read(NAME))
    assert report is not None
    assert report.rounding == 0.0


def test_tensor_of_that_dtype_is_kept_bit_for_bit() -> None:
    before = held("F16", [1.0, -0.0])
    tensor, report = cast_tensor(before, NAME, "F16")
    assert tensor.data == before.read_bytes(NAME)
    assert report is None


def test_whole_numbers_stay_what_they_are() -> None:
    codes = np.array([1, 2, 70_000], "<i8")
    counted = replace(
        held("F32"),
        kinds={NAME: TensorKind("I64", (3,))},
        read_bytes=lambda _: codes.tobytes(),
    )
    tensor, report = cast_tensor(counted, NAME, "F16")
    assert (tensor.dtype, tensor.data) == ("I64", codes.tobytes())
    assert report is None


def test_tensor_of_zeros_moves_by_nothing() -> None:
    _, report = cast_tensor(held("F32", [0.0, 0.0]), NAME, "BF16")
    assert report is not None
    assert report.rounding == 0.0


@pytest.mark.parametrize(
    ("number", "said"), [(1e6, "too large for F16"), (math.nan, "not finite"), (math.inf, "finite")]
)
def test_value_beyond_the_dtype_is_refused_by_its_tensor(number: float, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cast_tensor(held("F64", [1.0, number]), NAME, "F16")
    assert caught.value.kind == "tensor-not-finite"
    assert said in caught.value.message
    assert NAME in caught.value.message
    assert "team/a@1" in caught.value.message
