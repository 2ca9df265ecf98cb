import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.kernels.widening import widen_bf16, widen_f16
from plait.algebra.merge_health import MergeHealth
from plait.algebra.rounding import encode
from plait.errors import Integrity, InvalidInput
from plait.model.tensor_health import TensorHealth
from reference.merge_probes import norm_of_change

WIDTHS = {"F32": 4, "F16": 2, "BF16": 2}


def make_pair(dtype: str, count: int) -> tuple[bytes, bytes]:
    """Return a tensor and a merged one in which about half of the codes differ."""
    generator = np.random.default_rng(count)
    base = generator.standard_normal(count)
    change = generator.standard_normal(count) * (generator.random(count) < 0.5)
    return encode(base, dtype), encode(base + change, dtype)


def gather(dtype: str, base: bytes, merged: bytes, block: int | None = None) -> TensorHealth:
    """Return the figures of a tensor that comes in blocks of so many elements."""
    health = MergeHealth(dtype)
    size = (block or max(len(base), 1)) * WIDTHS[dtype]
    for start in range(0, len(base), size):
        health.add(base[start : start + size], merged[start : start + size])
    return health.finish()


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("count", [1, 127, 512, 1024, 5000])
def test_the_figures_are_those_of_the_definition(dtype: str, count: int) -> None:
    base, merged = make_pair(dtype, count)
    figures = gather(dtype, base, merged)
    width = WIDTHS[dtype]
    differ = sum(base[i : i + width] != merged[i : i + width] for i in range(0, len(base), width))
    expected = TensorHealth(norm_of_change(base, merged, dtype), differ / count, 0, count)
    assert figures == expected


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("block", [1, 3, 100, 128, 1000, 1024, 2049, 4096])
def test_blocks_of_any_size_give_the_same_bits(dtype: str, block: int) -> None:
    base, merged = make_pair(dtype, 6001)
    assert gather(dtype, base, merged, block) == gather(dtype, base, merged)


def test_the_norm_is_near_the_one_that_numpy_computes() -> None:
    base, merged = make_pair("F32", 5000)
    change = np.frombuffer(merged, "<f4").astype(float) - np.frombuffer(base, "<f4")
    assert gather("F32", base, merged).norm == pytest.approx(np.linalg.norm(change), rel=1e-14)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_a_tensor_that_keeps_its_bytes_has_no_change(dtype: str) -> None:
    base, _ = make_pair(dtype, 3000)
    assert gather(dtype, base, base) == TensorHealth(0.0, 0.0, 0, 3000)


def test_a_sign_of_zero_is_a_change_without_a_norm() -> None:
    base = np.zeros(1024, "<f4")
    merged = base.copy()
    merged[5] = -0.0
    assert gather("F32", base.tobytes(), merged.tobytes()) == TensorHealth(0.0, 1 / 1024, 0, 1024)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("code", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_counted_and_left_out_of_the_norm(
    dtype: str, code: str
) -> None:
    base, merged = make_pair(dtype, 2048)
    bad: Any = {
        "F32": np.float32(code).view(np.uint32),
        "F16": np.float16(code).view(np.uint16),
        "BF16": np.uint16(int(np.float32(code).view(np.uint32)) >> 16),
    }[dtype]
    codes = np.frombuffer(merged, bad.dtype).copy()
    codes[[3, 700, 2047]] = bad
    figures = gather(dtype, base, codes.tobytes())
    assert figures.not_finite == 3
    assert figures.norm == norm_of_change(base, codes.tobytes(), dtype)
    assert math.isfinite(figures.norm)
    assert figures.norm < gather(dtype, base, merged).norm
    back = gather(dtype, codes.tobytes(), base)
    assert (back.not_finite, back.norm) == (0, figures.norm)


def test_the_largest_numbers_do_not_overflow() -> None:
    largest = np.full(1024, np.finfo(np.float32).max, "<f4")
    figures = gather("F32", (-largest).tobytes(), largest.tobytes())
    assert figures.norm == pytest.approx(64 * float(largest[0]), rel=1e-15)


def test_denormal_numbers_count() -> None:
    base = np.zeros(1024, "<u2")
    merged = np.ones(1024, "<u2")
    assert gather("F16", base.tobytes(), merged.tobytes()).norm == 32 * 2.0**-24
    assert gather("BF16", base.tobytes(), merged.tobytes()).norm == 32 * 2.0**-133


def test_blocks_are_taken_as_arrays_and_views_too() -> None:
    base, merged = make_pair("BF16", 2000)
    health = MergeHealth("BF16")
    health.add(memoryview(base), np.frombuffer(merged, np.uint16).reshape(40, 50).view(np.int16))
    assert health.finish() == gather("BF16", base, merged)


def test_a_tensor_without_elements_did_not_change() -> None:
    assert MergeHealth("F32").finish() == TensorHealth(0.0, 0.0, 0, 0)


def test_blocks_of_different_lengths_are_refused() -> None:
    with pytest.raises(Integrity) as caught:
        MergeHealth("F32").add(bytes(8), bytes(4))
    assert caught.value.kind == "size-mismatch"


@pytest.mark.parametrize("dtype", ["F64", "I64", "F8_E4M3"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        MergeHealth(dtype)
    assert caught.value.kind == "not-mergeable"


def all_codes() -> NDArray[np.uint16]:
    return np.arange(65536, dtype=np.uint16)


def test_every_code_of_binary16_is_widened_exactly() -> None:
    wide = np.empty(65536, np.uint32)
    widen_f16(all_codes(), wide)
    values = all_codes().view(np.float16)
    expected = values.astype(np.float32).view(np.uint32)
    # Conversions make a signalling NaN quiet; codes are only moved.
    expected = np.where(np.isnan(values), expected & ~np.uint32(1 << 22), expected)
    wide = np.where(np.isnan(values), wide & ~np.uint32(1 << 22), wide)
    assert np.array_equal(wide, expected)


def test_every_code_of_bfloat16_is_the_upper_half_of_its_wide_one() -> None:
    wide = np.empty(65536, np.uint32)
    widen_bf16(all_codes(), wide)
    assert np.array_equal(wide >> np.uint32(16), all_codes())
    assert not (wide & np.uint32(0xFFFF)).any()
