import math
import struct

import numpy as np
import pytest

from plait.algebra.arrays import decode
from plait.errors import Integrity, InvalidInput
from reference.small_floats import value_of

FORMATS = {
    "F8_E4M3": {"exponent_bits": 4, "mantissa_bits": 3, "bias": 7},
    "F8_E5M2": {"exponent_bits": 5, "mantissa_bits": 2, "bias": 15},
    "F8_E4M3FNUZ": {"exponent_bits": 4, "mantissa_bits": 3, "bias": 8},
    "F8_E5M2FNUZ": {"exponent_bits": 5, "mantissa_bits": 2, "bias": 16},
}
SPECIAL = {
    "F8_E4M3": {0x7F: math.nan, 0xFF: math.nan},
    "F8_E5M2": {0x7C: math.inf, 0xFC: -math.inf}
    | dict.fromkeys([0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF], math.nan),
    "F8_E4M3FNUZ": {0x80: math.nan},
    "F8_E5M2FNUZ": {0x80: math.nan},
}


def test_numbers_keep_their_values_and_shape() -> None:
    values = [1.5, -2.0, 0.0, 3.25, 1e-3, -7.0]
    array = decode(struct.pack("<6f", *values), "F32", (2, 3), precision=np.float64)
    assert array.dtype == np.float64
    assert array.shape == (2, 3)
    assert array.ravel().tolist() == [float(np.float32(value)) for value in values]


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    codes = np.arange(2**16, dtype=np.uint16)
    array = decode(codes.tobytes(), "BF16", codes.shape, precision=np.float64)
    for code in range(0, 2**16, 37):
        expected = struct.unpack("<f", struct.pack("<I", code << 16))[0]
        assert array[code] == expected or (math.isnan(array[code]) and math.isnan(expected))


def test_half_precision_is_decoded() -> None:
    data = struct.pack("<3e", 0.5, -65504, 2**-24)
    assert decode(data, "F16", (3,), precision=np.float32).tolist() == [0.5, -65504, 2**-24]


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_code_of_an_8_bit_float_has_the_value_of_its_definition(dtype: str) -> None:
    array = decode(bytes(range(256)), dtype, (256,), precision=np.float64)
    expected = [SPECIAL[dtype].get(code, value_of(code, **FORMATS[dtype])) for code in range(256)]
    np.testing.assert_array_equal(array, expected)
    signs = [math.copysign(1, value) for value in expected if not math.isnan(value)]
    assert [math.copysign(1, value) for value in array if not math.isnan(value)] == signs


def test_every_code_of_e8m0_is_a_power_of_two() -> None:
    array = decode(bytes(range(256)), "F8_E8M0", (256,), precision=np.float64)
    np.testing.assert_array_equal(array[:255], [2.0**power for power in range(-127, 128)])
    assert math.isnan(array[255])


@pytest.mark.torch
@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("F8_E4M3", "float8_e4m3fn"),
        ("F8_E5M2", "float8_e5m2"),
        ("F8_E4M3FNUZ", "float8_e4m3fnuz"),
        ("F8_E5M2FNUZ", "float8_e5m2fnuz"),
        ("F8_E8M0", "float8_e8m0fnu"),
        ("BF16", "bfloat16"),
    ],
)
def test_small_floats_have_the_values_that_torch_gives_them(dtype: str, name: str) -> None:
    import torch

    codes = np.arange(2**16 if dtype == "BF16" else 2**8)
    raw = codes.astype(np.uint16 if dtype == "BF16" else np.uint8)
    expected = torch.from_numpy(raw.copy()).view(getattr(torch, name)).to(torch.float32).numpy()
    np.testing.assert_array_equal(
        decode(raw.tobytes(), dtype, raw.shape, precision=np.float32), expected
    )


@pytest.mark.parametrize(
    ("dtype", "form", "values"),
    [
        ("I64", "<q", [-(2**40)]),
        ("U64", "<Q", [2**40]),
        ("I32", "<i", [-5]),
        ("U32", "<I", [5]),
        ("I16", "<h", [-5]),
        ("U16", "<H", [5]),
        ("I8", "<b", [-5]),
        ("U8", "<B", [200]),
        ("BOOL", "<?", [True]),
        ("F64", "<d", [0.1]),
    ],
)
def test_integers_become_floats(dtype: str, form: str, values: list[float]) -> None:
    assert decode(struct.pack(form, *values), dtype, (1,), precision=np.float64).tolist() == values


@pytest.mark.parametrize("dtype", ["F32", "F64", "BF16"])
def test_the_result_is_a_copy(dtype: str) -> None:
    data = bytearray(8)
    array = decode(
        memoryview(data),
        dtype,
        (8 // {"F32": 4, "F64": 8, "BF16": 2}[dtype],),
        precision=np.float64,
    )
    data[:] = b"\x40" * 8
    assert not array.any()
    array[0] = 1  # and it may be written to


def test_a_scalar_and_an_empty_tensor_are_arrays() -> None:
    assert decode(struct.pack("<f", 2), "F32", (), precision=np.float64).shape == ()
    assert decode(b"", "BF16", (0, 4), precision=np.float64).shape == (0, 4)


@pytest.mark.parametrize(("dtype", "size"), [("C64", 8), ("F4", 1), ("F6_E2M3", 3)])
def test_what_is_not_one_real_number_to_an_element_is_refused(dtype: str, size: int) -> None:
    shape = {"C64": (1,), "F4": (2,), "F6_E2M3": (4,)}[dtype]
    with pytest.raises(InvalidInput, match="convert them"):
        decode(b"\0" * size, dtype, shape, precision=np.float64)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown dtype"):
        decode(b"\0", "F7", (1,), precision=np.float64)


def test_bytes_that_do_not_fit_the_shape_are_refused() -> None:
    with pytest.raises(Integrity) as caught:
        decode(b"\0" * 7, "F32", (2,), precision=np.float64)
    assert caught.value.details == {"expected": 8, "actual": 7}
