import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.arrays import decode
from plait.algebra.rounding import encode, round_to
from plait.errors import InvalidInput

Values = NDArray[np.float64]
SPECIAL = [0.0, -0.0, 1.0, 2.0**-24, 2.0**-25, 2.0**-149, 2.0**-150, 2.0**-133, 2.0**-134, 65504.0]


def read_halves(codes: NDArray[np.int64]) -> Values:
    return codes.astype(np.uint16).view(np.float16).astype(np.float64)


def read_singles(codes: NDArray[np.int64]) -> Values:
    return codes.astype(np.uint32).view(np.float32).astype(np.float64)


def make_values() -> Values:
    """Return values on, between and just beside the codes of every narrow dtype, below 65000."""
    rng = np.random.default_rng(1)
    halves = np.sort(rng.integers(0, 0x7C00 - 1, 2000))
    brains = np.sort(rng.integers(0, 0x4780 - 1, 2000))
    singles = np.sort(rng.integers(0, 0x4780_0000 - 1, 2000))
    exact = [np.array(SPECIAL)]
    for low, high in (
        (read_halves(halves), read_halves(halves + 1)),
        (read_singles(brains << 16), read_singles(brains + 1 << 16)),
        (read_singles(singles), read_singles(singles + 1)),
    ):
        exact += [low, high, (low + high) / 2]
    values = np.concatenate(exact)
    values = np.concatenate([values, np.nextafter(values, -1.0), np.nextafter(values, 1e9)])
    values = values[np.abs(values) < 65000]
    return np.concatenate([values, -values])


def nearest_brains(values: Values) -> NDArray[np.uint16]:
    """Return codes of bfloat16 by comparing exact distances to both neighbours."""
    magnitudes = np.abs(values)
    table = read_singles(np.arange(0x7F80) << 16)
    low = np.searchsorted(table, magnitudes, side="right") - 1
    high = np.minimum(low + 1, 0x7F7F)
    down, up = magnitudes - table[low], table[high] - magnitudes
    take_high = (up < down) | ((up == down) & (low % 2 == 1))
    chosen = np.where(take_high, high, low)
    signs = np.signbit(values).astype(np.int64) << 15
    codes: NDArray[np.uint16] = (chosen | signs).astype(np.uint16)
    return codes


def test_halves_are_those_of_numpys_one_rounding() -> None:
    values = make_values()
    assert encode(values, "F16") == values.astype("<f2").tobytes()


def test_singles_are_ieee_conversions() -> None:
    values = make_values()
    assert encode(values, "F32") == values.astype("<f4").tobytes()


def test_bfloats_are_the_nearest_with_ties_to_even() -> None:
    values = make_values()
    assert encode(values, "BF16") == nearest_brains(values).tobytes()


@pytest.mark.torch
def test_bfloats_of_singles_are_those_of_torch() -> None:
    import torch

    values = make_values().astype(np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy()
    assert encode(values, "BF16") == expected.tobytes()


@pytest.mark.parametrize(
    ("dtype", "largest", "least_too_large"),
    [
        ("F16", 65519.99999, 65520.0),
        ("BF16", 3.3961775292304e38, 3.3961775292304601e38),
        ("F32", 3.4028235677973362e38, 3.4028235677973366e38),
    ],
)
def test_what_rounds_beyond_the_largest_is_refused(
    dtype: str, largest: float, least_too_large: float
) -> None:
    assert np.isfinite(round_to(np.array([largest]), dtype)).all()
    with pytest.raises(InvalidInput, match=f"too large for {dtype}") as caught:
        encode(np.array([-least_too_large]), dtype, name="q_proj")
    assert caught.value.kind == "tensor-not-finite"
    assert "q_proj" in caught.value.message


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(dtype: str, value: float) -> None:
    with pytest.raises(InvalidInput, match="not finite"):
        encode(np.array([1.0, value]), dtype)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_reading_back_gives_what_was_written(dtype: str) -> None:
    values = make_values().reshape(2, -1)
    back = round_to(values, dtype)
    assert back.shape == values.shape
    assert encode(back, dtype) == encode(values, dtype)
    assert np.array_equal(
        decode(encode(values, dtype), dtype, values.shape, precision=np.float64), back
    )


def test_another_dtype_is_refused() -> None:
    with pytest.raises(InvalidInput, match="F32, F16, BF16"):
        encode(np.zeros(1), "I8")
