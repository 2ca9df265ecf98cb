import numpy as np
import pytest

from plait.algebra.finite import ALWAYS_FINITE, BLOCK_SIZE, FiniteCheck
from plait.errors import InvalidInput
from plait.model.digesting import digest_file
from plait.model.paths import FilePath
from plait.model.safetensors_layout import BITS_OF_DTYPE, TensorRange, build_header, tensor_size


def tensor(dtype: str, *shape: int, name: str = "layer.weight") -> TensorRange:
    return TensorRange(name, dtype, shape, 100, tensor_size(dtype, shape))


def look(of: TensorRange, data: bytes) -> None:
    FiniteCheck()(of, memoryview(data))


def refuse(of: TensorRange, data: bytes) -> dict[str, object]:
    with pytest.raises(InvalidInput) as caught:
        look(of, data)
    assert caught.value.kind == "tensor-not-finite"
    return caught.value.details


CODES = {
    "F64": (
        "<u8",
        [0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0x7FF0 << 48) + 1, 2**64 - 1],
        [0, 1 << 63, 0x7FEF << 48, (0x7FF0 << 48) - 1, (0xFFF0 << 48) - 1],
    ),
    "F32": (
        "<u4",
        [0x7F800000, 0xFF800000, 0x7F800001, 0xFFC00000, 0xFFFFFFFF],
        [0, 0x80000000, 0x7F7FFFFF, 0xFF7FFFFF],
    ),
    "F16": ("<u2", [0x7C00, 0xFC00, 0x7C01, 0xFFFF], [0, 0x8000, 0x7BFF, 0xFBFF]),
    "BF16": ("<u2", [0x7F80, 0xFF80, 0x7F81, 0xFFFF], [0, 0x8000, 0x7F7F, 0xFF7F]),
    "F8_E5M2": ("u1", [0x7C, 0x7D, 0x7F, 0xFC, 0xFF], [0, 0x80, 0x7B, 0xFB]),
    "F8_E4M3": ("u1", [0x7F, 0xFF], [0, 0x80, 0x7E, 0xFE]),
    "F8_E4M3FNUZ": ("u1", [0x80], [0, 0x7F, 0xFF, 0x81]),
    "F8_E5M2FNUZ": ("u1", [0x80], [0, 0x7F, 0xFF, 0x81]),
    "F8_E8M0": ("u1", [0xFF], [0, 0x80, 0x7F, 0xFE]),
}


def codes(dtype: str, *values: int) -> bytes:
    return np.array(values, np.uint64).astype(CODES[dtype][0]).tobytes()


@pytest.mark.parametrize("dtype", CODES)
def test_every_kind_of_number_that_is_not_finite_is_refused(dtype: str) -> None:
    for code in CODES[dtype][1]:
        assert refuse(tensor(dtype, 3), codes(dtype, 0, code, 0))["index"] == 1


@pytest.mark.parametrize("dtype", CODES)
def test_the_largest_and_the_signed_zero_are_numbers(dtype: str) -> None:
    finite = CODES[dtype][2]
    look(tensor(dtype, len(finite)), codes(dtype, *finite))


def test_every_dtype_of_the_format_is_decided() -> None:
    assert set(BITS_OF_DTYPE) == {*CODES, "C64", *ALWAYS_FINITE}


@pytest.mark.parametrize("dtype", sorted(ALWAYS_FINITE))
def test_dtypes_without_nan_pass(dtype: str) -> None:
    look(tensor(dtype, 24), b"\xff" * tensor_size(dtype, (24,)))


def test_a_complex_number_is_counted_once() -> None:
    data = np.array([1, 2, complex(3, float("nan"))], np.complex64).tobytes()
    assert refuse(tensor("C64", 3), data)["index"] == 2


def test_the_message_names_the_tensor_and_the_place() -> None:
    data = np.zeros((2, 3, 4), np.float32)
    data[1, 2, 3] = np.inf
    with pytest.raises(InvalidInput, match=r"'layer.weight'.*element 23 \(position \[1, 2, 3\]\)"):
        look(tensor("F32", 2, 3, 4), data.tobytes())


def test_the_first_of_several_is_named_across_blocks() -> None:
    data = np.zeros(BLOCK_SIZE, np.float32)  # four blocks
    data[[BLOCK_SIZE // 4 + 5, BLOCK_SIZE - 1]] = -np.inf, np.nan
    assert refuse(tensor("F32", BLOCK_SIZE), data.tobytes())["index"] == BLOCK_SIZE // 4 + 5


def test_a_scalar_has_no_position() -> None:
    assert refuse(tensor("F32"), np.float32("nan").tobytes())["position"] == []


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 9, 16])
def test_pieces_need_not_align_to_elements(step: int) -> None:
    values = np.arange(20, dtype=np.float64)
    values[13] = np.nan
    data, check = values.tobytes(), FiniteCheck()
    of = tensor("F64", 20)
    found = None
    try:
        for start in range(0, len(data), step):
            check(of, memoryview(data)[start : start + step])
    except InvalidInput as error:
        found = error.details["index"]
    assert found == 13


def test_bytes_are_not_carried_from_one_tensor_to_the_next() -> None:
    # Read together, the end of one and the start of the next would be an infinity.
    check, first, second = FiniteCheck(), tensor("F32", 1, name="a"), tensor("BF16", 2, name="b")
    check(first, memoryview(b"\x00\x00\x80"))
    check(second, memoryview(b"\x7f\x00\x00\x00"))


def test_the_same_tensor_twice_is_two_tensors() -> None:
    check, of = FiniteCheck(), tensor("F32", 1)
    for _ in range(2):
        check(of, memoryview(b"\x00\x00\x80"))
        check(of, memoryview(b"\x00"))


def test_it_watches_while_a_file_is_digested() -> None:
    values = np.ones(6, np.float32)
    header, _ = build_header([tensor("F32", 6), tensor("I32", 1, name="z")], {})
    file = header + values.tobytes() + b"\xff\xff\x80\x7f"
    pieces = [file[start : start + 11] for start in range(0, len(file), 11)]
    path = FilePath("model.safetensors")
    assert digest_file(path, len(file), pieces, observe=FiniteCheck()).size == len(file)
    values[5] = np.nan
    broken = header + values.tobytes() + file[-4:]
    with pytest.raises(InvalidInput, match="element 5"):
        digest_file(path, len(file), [broken], observe=FiniteCheck())
