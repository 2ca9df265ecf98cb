"""4-bit and 8-bit weights of bitsandbytes: what their codes stand for, to the bit."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plait.algebra.quantised.dequantiser import Dequantiser, narrow
from plait.algebra.quantised.four_bit import FP4, NF4, TABLES, FourBitWeight, open_4bit
from plait.algebra.quantised.int8 import Int8Weight, open_int8
from plait.algebra.rounding import encode
from plait.errors import InvalidInput
from plait.model.quant_state import QuantState
from plait.model.quantization import QuantizedWeight, Scheme
from reference import dequantised

pytestmark = pytest.mark.timeout(300)  # kernels are compiled the first time

RANDOM = np.random.default_rng(5)


def quantised(scheme: Scheme, *parts: str) -> QuantizedWeight:
    return QuantizedWeight("m.weight", scheme, {part: f"m.{part}" for part in parts})


NESTED = quantised(Scheme.NF4, "codes", "state", "absmax", "nested_absmax", "nested_quant_map")
PLAIN = quantised(Scheme.NF4, "codes", "state", "absmax", "quant_map")


def state_of(shape: tuple[int, ...], blocksize: int = 64, **changed: Any) -> bytes:
    held = {"quant_type": "nf4", "blocksize": blocksize, "dtype": "bfloat16", "shape": shape}
    return json.dumps(held | changed).encode()


def nested_parts(blocks: int, groups: int) -> dict[str, bytes]:
    return {
        "absmax": RANDOM.integers(0, 256, blocks, np.uint8).tobytes(),
        "nested_absmax": RANDOM.random(groups, np.float32).tobytes(),
        "nested_quant_map": np.linspace(-1, 1, 256, dtype=np.float32).tobytes(),
    }


def bits(values: Any) -> list[int]:
    codes: list[int] = np.asarray(values, np.float32).view(np.uint32).tolist()
    return codes


def whole(weight: Dequantiser, codes: bytes) -> NDArray[np.float32]:
    count = int(np.prod(weight.shape))
    return weight.dequantise(memoryview(codes), 0, count)


def test_tables_hold_what_their_papers_say() -> None:
    assert NF4[0] == -1
    assert NF4[7] == 0
    assert NF4[15] == 1
    assert (np.diff(NF4) > 0).all()
    # Sign, two bits of exponent, one of mantissa: 1/192 is the subnormal, and 1 the largest.
    assert sorted(abs(FP4[:8]).tolist()) == pytest.approx(
        [0, 1 / 192, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1]
    )
    assert bits(FP4[8:]) == bits(-FP4[:8])


@pytest.mark.parametrize("scheme", TABLES)
@pytest.mark.parametrize("blocksize", [32, 64, 128])
def test_every_code_stands_for_the_product_with_its_blocks_scale(
    scheme: Scheme, blocksize: int
) -> None:
    codes = RANDOM.permutation(np.arange(256, dtype=np.uint8)).tobytes()
    scales = RANDOM.standard_normal(512 // blocksize).astype(np.float32)
    weight = FourBitWeight(
        QuantState("F32", (16, 32), blocksize, None, 0.0), TABLES[scheme], scales
    )
    expected = dequantised.four_bit(codes, TABLES[scheme], list(scales), blocksize)
    assert bits(whole(weight, codes)) == bits(expected)


def test_nested_scales_are_rounded_after_the_product_and_after_the_sum() -> None:
    parts = nested_parts(600, 3)
    state = state_of((600, 64), nested_blocksize=256, nested_dtype="float32", nested_offset=0.23633)
    weight = open_4bit(NESTED, {**parts, "state": state}, 600 * 32)
    expected = dequantised.scales_of(
        list(parts["absmax"]),
        np.frombuffer(parts["nested_quant_map"], np.float32),
        np.frombuffer(parts["nested_absmax"], np.float32),
        0.23633,
    )
    assert bits(weight.scales) == bits(expected)
    # One rounding of both gives other bits here, so that the order is tested at all.
    means = np.frombuffer(parts["nested_quant_map"], np.float32).astype(np.float64)
    steps = np.repeat(np.frombuffer(parts["nested_absmax"], np.float32), 256)[:600]
    fused = means[list(parts["absmax"])] * steps + float(np.float32(0.23633))
    assert bits(weight.scales) != bits(fused)


def test_8_bit_codes_stand_for_two_products() -> None:
    codes = RANDOM.integers(-127, 128, (5, 300), np.int8)
    scales = RANDOM.random(5, np.float32)
    weight = Int8Weight("F32", (5, 300), scales)
    assert bits(whole(weight, codes.tobytes())) == bits(dequantised.int8(codes, scales))
    # One product with a scale that was divided before is another number.
    assert bits(whole(weight, codes.tobytes())) != bits(codes * (scales[:, None] / np.float32(127)))


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 70),
    cuts=st.lists(st.integers(0, 630), max_size=6),
    scheme=st.sampled_from([Scheme.NF4, Scheme.INT8]),
)
def test_blocks_of_any_size_give_the_same_elements(
    rows: int, columns: int, cuts: list[int], scheme: Scheme
) -> None:
    count = rows * columns
    codes = memoryview(RANDOM.integers(-127, 128, count, np.int8).tobytes())
    weight: Dequantiser = Int8Weight("F32", (rows, columns), RANDOM.random(rows, np.float32))
    if scheme is Scheme.NF4:
        state = QuantState("F32", (rows, columns), 32, None, 0.0)
        weight = FourBitWeight(state, NF4, RANDOM.random(state.blocks, np.float32))
    places = sorted({0, count, *(cut for cut in cuts if cut < count)})
    found: list[float] = []
    for first, last in pairwise(places):
        place, size = weight.find_codes(first, last - first)
        found += list(weight.dequantise(codes[place : place + size], first, last - first))
    assert bits(found) == bits(whole(weight, bytes(codes)))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_narrow_rounds_once_to_nearest_even(dtype: str) -> None:
    halfway = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, -0.0, 2**-140, 2**-25], np.float32)
    values = np.concatenate([RANDOM.standard_normal(1000).astype(np.float32), halfway, NF4, FP4])
    assert narrow(values, dtype) == encode(values, dtype)


def refusal_of(weight: QuantizedWeight, parts: Mapping[str, bytes], size: int) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        open_4bit(weight, parts, size)
    return caught.value


def test_codes_of_another_count_are_refused() -> None:
    parts = {"state": state_of((3, 64)), "absmax": bytes(12), "quant_map": NF4.tobytes()}
    assert open_4bit(PLAIN, parts, 96).shape == (3, 64)
    error = refusal_of(PLAIN, parts, 95)
    assert error.kind == "not-mergeable"
    assert "m.weight" in error.message
    assert "95 bytes" in error.message


def test_other_counts_of_scales_are_refused() -> None:
    parts = {"state": state_of((3, 64)), "absmax": bytes(16), "quant_map": NF4.tobytes()}
    assert "absmax has 4 numbers, not 3" in refusal_of(PLAIN, parts, 96).message
    state = state_of((3, 64), nested_blocksize=256, nested_dtype="float32", nested_offset=0.5)
    nested = {**nested_parts(4, 1), "state": state}
    assert "absmax has 4 numbers, not 3" in refusal_of(NESTED, nested, 96).message


def test_a_table_of_another_scheme_is_refused() -> None:
    parts = {"state": state_of((3, 64)), "absmax": bytes(12), "quant_map": FP4.tobytes()}
    assert "quant_map is not the table of nf4" in refusal_of(PLAIN, parts, 96).message


def test_a_table_whose_zero_has_the_other_sign_is_the_scheme_s() -> None:
    table = FP4.copy()
    table[8] = 0.0  # as bitsandbytes writes it
    state = state_of((3, 64), quant_type="fp4")
    parts = {"state": state, "absmax": bytes(12), "quant_map": table.tobytes()}
    weight = open_4bit(quantised(Scheme.FP4, *PLAIN.parts), parts, 96)
    assert bits(weight.table[8]) == bits(-0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scales_that_are_not_finite_are_refused(value: float) -> None:
    absmax = np.array([1, value, 1], np.float32).tobytes()
    parts = {"state": state_of((3, 64)), "absmax": absmax, "quant_map": NF4.tobytes()}
    assert refusal_of(PLAIN, parts, 96).kind == "tensor-not-finite"
    with pytest.raises(InvalidInput, match="NaN or an infinity in SCB"):
        open_int8(quantised(Scheme.INT8), {"SCB": absmax}, (3, 64), "BF16")


def test_nested_scales_that_overflow_are_refused() -> None:
    state = state_of((3, 64), nested_blocksize=256, nested_dtype="float32", nested_offset=1e30)
    parts = {**nested_parts(3, 1), "nested_absmax": np.float32(3.4e38).tobytes(), "state": state}
    table = np.full(256, 3.0, np.float32).tobytes()
    error = refusal_of(NESTED, {**parts, "nested_quant_map": table}, 96)
    assert error.kind == "tensor-not-finite"


@pytest.mark.parametrize(
    ("parts", "shape", "words"),
    [
        ({"SCB": bytes(8)}, (3, 64), "SCB has 2 numbers for 3 rows"),
        ({"SCB": bytes(12), "weight_format": b"\x01"}, (3, 64), "not stored row by row"),
        ({"SCB": bytes(12)}, (3, 8, 8), r"the shape \[3, 8, 8\]"),
        ({"SCB": b""}, (0, 8), r"the shape \[0, 8\]"),
    ],
)
def test_8_bit_weights_that_contradict_themselves_are_refused(
    parts: dict[str, bytes], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        open_int8(quantised(Scheme.INT8), parts, shape, "BF16")
    assert caught.value.kind == "not-mergeable"
