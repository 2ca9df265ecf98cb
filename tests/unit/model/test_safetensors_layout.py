import json
import time
from typing import Any

import pytest

from plait.errors import InvalidInput, TooLarge
from plait.model.safetensors_layout import (
    BITS_OF_DTYPE,
    LARGEST_HEADER,
    SafetensorsLayout,
    TensorRange,
    build_header,
    header_size,
    parse_header,
    tensor_size,
)
from reference.safetensors_writer import assemble, entry, write


def parse(file: bytes, **limits: int) -> SafetensorsLayout:
    end = header_size(file[:8], file_size=len(file))
    return parse_header(file[:end], file_size=len(file), **limits)


def one_tensor(shape: Any, begin: Any, end: Any, *, dtype: Any = "F32") -> bytes:
    size = end if isinstance(end, int) and 0 <= end < 1_000 else 0
    return assemble({"a": entry(dtype, shape, begin, end)}, bytes(size))


def refuse(file: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        parse(file)
    assert caught.value.kind in {"invalid-safetensors", "invalid-json"}
    assert len(caught.value.message) < 1_000
    caught.value.message.encode()


def test_layout_counts_offsets_from_the_start_of_the_file() -> None:
    file = write({"b": ("F32", [2, 1], bytes(8)), "a": ("U8", [], b"x")}, {"format": "pt"})
    layout = parse(file)
    start = layout.header_size
    assert layout.tensors == (
        TensorRange("b", "F32", (2, 1), start, 8),
        TensorRange("a", "U8", (), start + 8, 1),
    )
    assert layout.metadata == {"format": "pt"}
    assert layout.file_size == len(file) == start + 9


def test_tensors_come_in_the_order_of_their_offsets_whatever_the_order_of_the_header() -> None:
    header = {"late": entry("U8", [1], 1, 2), "early": entry("U8", [1], 0, 1)}
    assert [tensor.name for tensor in parse(assemble(header, b"xy")).tensors] == ["early", "late"]


def test_empty_tensors_may_lie_first_in_the_middle_last_and_several_at_one_offset() -> None:
    tensors = {
        "first": ("F32", [0], b""),
        "also first": ("F32", [0, 7], b""),
        "data": ("U8", [2], b"xy"),
        "middle": ("F64", [3, 0], b""),
        "more data": ("U8", [1], b"z"),
        "last": ("U8", [0], b""),
        "also last": ("U8", [0], b""),
    }
    layout = parse(write(tensors))
    assert [tensor.name for tensor in layout.tensors] == [
        "also first", "first", "data", "middle", "more data", "also last", "last"
    ]  # fmt: skip


def test_file_without_tensors_is_well_formed() -> None:
    assert parse(assemble({})).tensors == ()
    assert parse(assemble({"__metadata__": {}})).metadata == {}
    assert parse(assemble({"__metadata__": None})).metadata == {}


@pytest.mark.parametrize("size", range(8))
def test_file_shorter_than_its_prefix_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="shorter than the 8 bytes"):
        header_size(bytes(size), file_size=size)


@pytest.mark.parametrize("length", [LARGEST_HEADER + 1, 2**32, 2**63, 2**64 - 1])
def test_header_over_the_limit_is_refused_from_its_prefix_alone(length: int) -> None:
    with pytest.raises(TooLarge) as caught:
        header_size(length.to_bytes(8, "little"), file_size=2**70)
    assert caught.value.kind == "header-too-large"
    assert caught.value.details["size"] == length


def test_limit_on_the_header_can_be_set() -> None:
    assert header_size((100).to_bytes(8, "little"), file_size=108, largest=100) == 108
    with pytest.raises(TooLarge):
        header_size((101).to_bytes(8, "little"), file_size=200, largest=100)


def test_header_that_claims_more_than_the_file_is_truncated() -> None:
    refuse(assemble({}, length=3), "is truncated: its header claims 3 bytes of a 10 byte file")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"[{}]",
        b" {}",
        b"null",
        b"\xef\xbb\xbf{}",
        b'"{}"',
        b"{}\n",
        b"{}\x00",
        b"{}\t ",
    ],
)
def test_header_that_is_not_one_padded_object_is_refused(header: bytes) -> None:
    refuse(assemble(header), "has a header that")


def test_header_may_be_padded_with_spaces() -> None:
    assert parse(assemble(b"{}" + b" " * 6)).header_size == 16


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":}',
        b"{}{}",
        b'{"a" "b"}',
        b'{"\xff":{}}',
        b'{"__metadata__":{"a":"\\ud800"}}',
        b'{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5_000 + b'],"data_offsets":[0,0]}}',
    ],
)
def test_header_of_broken_json_is_refused(header: bytes) -> None:
    refuse(assemble(header), "Not valid JSON")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused(opening: bytes) -> None:
    refuse(assemble(b'{"a":' + opening * 50_000 + b"}"), "Not valid JSON")


def test_duplicate_names_are_refused_also_when_escaped() -> None:
    item = json.dumps(entry("U8", [0], 0, 0))
    for twin in ("a", "\\u0061"):
        refuse(assemble(f'{{"a":{item},"{twin}":{item}}}'.encode()), "the key 'a' appears twice")
    refuse(
        assemble(b'{"a":{"dtype":"U8","dtype":"F64","shape":[0],"data_offsets":[0,0]}}'),
        "the key 'dtype' appears twice",
    )
    refuse(assemble(b'{"__metadata__":{},"__metadata__":{}}'), "'__metadata__' appears twice")


@pytest.mark.parametrize(
    "metadata", [1, "x", [], [["a", "b"]], {"a": 1}, {"a": None}, {"a": {"b": "c"}}, {"a": True}]
)
def test_metadata_other_than_strings_is_refused(metadata: Any) -> None:
    refuse(assemble({"__metadata__": metadata}), "does not map strings to strings")


@pytest.mark.parametrize(
    "described",
    [
        None,
        [],
        "F32",
        {},
        {"dtype": "U8", "shape": [0]},
        {**entry("U8", [0], 0, 0), "extra": 1},
        ["U8", [0], [0, 0]],
    ],
)
def test_tensor_described_by_other_fields_is_refused(described: Any) -> None:
    refuse(assemble({"a": described}), "by other than dtype, shape and data_offsets")


@pytest.mark.parametrize("dtype", ["F31", "f32", "", "F32 ", "I4", "\ud800", "x" * 10_000])
def test_unknown_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(InvalidInput, match="unknown dtype"):
        tensor_size(dtype, [1])


@pytest.mark.parametrize("dtype", [None, 5, ["F32"], {"F32": None}])
def test_dtype_that_is_no_string_is_refused(dtype: Any) -> None:
    refuse(one_tensor([1], 0, 4, dtype=dtype), "a dtype that is not a string")


@pytest.mark.parametrize(
    "shape",
    [None, 4, "4", [-1], [-1, -4], [1.0], ["1"], [True], [[1]], [None], [2**53], [2**64], {"0": 1}],
)
def test_shape_that_is_no_list_of_sizes_is_refused(shape: Any) -> None:
    refuse(one_tensor(shape, 0, 4), "a shape that is not a list of sizes")


@pytest.mark.parametrize(
    "offsets",
    [None, [], [0], [0, 4, 4], [-4, 0], [0, 4.0], [False, 4], ["0", "4"], [0, 2**64], {"0": 4}],
)
def test_offsets_that_are_not_two_are_refused(offsets: Any) -> None:
    described = {"dtype": "F32", "shape": [1], "data_offsets": offsets}
    refuse(assemble({"a": described}, bytes(4)), "data_offsets that are not two offsets")


@pytest.mark.parametrize(("begin", "end"), [(0, 3), (0, 5), (4, 0), (0, 0), (4, 4), (0, 2**53 - 1)])
def test_size_that_disagrees_with_dtype_and_shape_is_refused(begin: int, end: int) -> None:
    refuse(one_tensor([1], begin, end), "where F32 .1. takes 4")


@pytest.mark.parametrize(
    "shape", [[2**50, 2**50], [2**53 - 1], [2**52, 2**52, 0], [0, 2**52, 2**52], [2**40] * 64]
)
def test_shape_that_overflows_is_refused_even_where_the_tensor_is_empty(shape: list[int]) -> None:
    refuse(one_tensor(shape, 0, 0), "an impossible shape")


def test_shape_of_millions_of_dimensions_is_refused_at_once() -> None:
    started = time.perf_counter()
    refuse(one_tensor([1] * 65, 0, 4), "a tensor of 65 dimensions; at most 64 exist")
    refuse(one_tensor([2**52] * 100_000, 0, 4), "100000 dimensions")
    assert time.perf_counter() - started < 10  # their product alone would take minutes


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("F4", [2], 1),
        ("F4", [3, 2], 3),
        ("F6_E2M3", [4], 3),
        ("F6_E3M2", [2, 4], 6),
        ("F4", [0], 0),
    ],
)
def test_dtype_below_a_byte_must_fill_whole_bytes(dtype: str, shape: list[int], size: int) -> None:
    assert tensor_size(dtype, shape) == size
    with pytest.raises(InvalidInput, match="do not fill whole bytes"):
        tensor_size(dtype, [1])


def test_scalar_takes_one_element_of_every_dtype() -> None:
    for dtype, bits in BITS_OF_DTYPE.items():
        if bits >= 8:
            assert tensor_size(dtype, []) == bits // 8


@pytest.mark.parametrize(
    ("tensors", "size", "reason"),
    [
        ([(0, 4), (2, 6)], 6, "overlaps another"),
        ([(0, 4), (0, 4)], 4, "overlaps another"),
        ([(0, 4), (2, 2)], 4, "overlaps another"),
        ([(4, 8)], 8, "leaves a hole"),
        ([(0, 4), (8, 12)], 12, "leaves a hole"),
        ([(0, 4), (8, 8)], 8, "leaves a hole"),
        ([(0, 4)], 5, "1 bytes after its last tensor"),
        ([], 3, "3 bytes after its last tensor"),
        ([(0, 4)], 3, "truncated: its tensors end at byte"),
        ([(0, 4), (4, 8)], 4, "truncated: its tensors end at byte"),
    ],
)
def test_tensors_that_do_not_tile_the_data_are_refused(
    tensors: list[tuple[int, int]], size: int, reason: str
) -> None:
    header = {
        f"t{number}": entry("U8", [end - begin], begin, end)
        for number, (begin, end) in enumerate(tensors)
    }
    refuse(assemble(header, bytes(size)), reason)


def test_too_many_tensors_are_refused() -> None:
    file = write({str(number): ("U8", [0], b"") for number in range(3)})
    assert len(parse(file, most_tensors=3).tensors) == 3
    with pytest.raises(TooLarge) as caught:
        parse(file, most_tensors=2)
    assert caught.value.kind == "too-many-tensors"


def test_header_of_nothing_but_brackets_is_refused_before_it_fills_the_memory() -> None:
    header = b'{"a":[' + b"[]," * 1_400_000 + b"[]]}"
    with pytest.raises(TooLarge, match="commas and brackets") as caught:
        parse(assemble(header))
    assert caught.value.kind == "header-too-large"


@pytest.mark.slow
def test_hundred_thousand_tensors_are_parsed_in_seconds() -> None:
    header = {
        f"base_model.model.layers.{number}.lora_A.weight": entry("U8", [1, 1], number, number + 1)
        for number in range(100_000)
    }
    file = assemble(header, bytes(100_000))
    started = time.perf_counter()
    assert len(parse(file).tensors) == 100_000
    assert time.perf_counter() - started < 20


def test_built_header_is_aligned_and_parses_to_what_it_was_built_from() -> None:
    tensors = [
        TensorRange("b", "F32", (2,), 999, 8),
        TensorRange("empty", "F32", (0,), 0, 0),
        TensorRange("a", "U8", (1, 3), 7, 3),
    ]
    header, placed = build_header(tensors, {"format": "pt"})
    layout = parse_header(header, file_size=len(header) + 11)
    assert len(header) % 8 == 0
    assert layout.tensors == placed
    assert [tensor.name for tensor in placed] == ["b", "empty", "a"]
    assert layout.metadata == {"format": "pt"}
    assert parse(build_header([], {})[0]).tensors == ()
