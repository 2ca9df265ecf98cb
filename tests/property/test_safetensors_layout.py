"""Whatever plait takes for a safetensors file, the safetensors library takes too, and equally.

Where plait is stricter on purpose (each is tried below): extra or missing fields, an entry
written as an array, duplicate names, white space around the header other than spaces behind it,
more than 64 dimensions, lengths and sizes of 2^53 and more, the limit on tensors, and nesting.
"""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from plait.errors import InvalidInput, PlaitError
from plait.model.safetensors_layout import (
    BITS_OF_DTYPE,
    SafetensorsLayout,
    TensorRange,
    build_header,
    header_size,
    parse_header,
)
from reference.safetensors_writer import assemble, entry, read_by_library, write
from reference.strategies import tensor_maps, text


def parse(file: bytes) -> SafetensorsLayout:
    end = header_size(file[:8], file_size=len(file))
    return parse_header(file[:end], file_size=len(file))


def verify_library_agrees(file: bytes) -> bool:
    """Return whether plait accepts `file`; if it does, the library must see the same tensors."""
    try:
        layout = parse(file)
    except PlaitError as error:
        error.message.encode()
        return False
    assert read_by_library(file) == {
        tensor.name: (
            tensor.dtype,
            tensor.shape,
            file[tensor.offset : tensor.offset + tensor.size],
        )
        for tensor in layout.tensors
    }
    return True


@given(tensors=tensor_maps, metadata=st.none() | st.dictionaries(text, text, max_size=3))
def test_every_sound_file_is_accepted(tensors: dict[str, Any], metadata: Any) -> None:
    file = write(tensors, metadata)
    assert verify_library_agrees(file)
    assert parse(file).metadata == (metadata or {})


counts = st.integers(-1, 9) | st.sampled_from([2**52, 2**53, 2**63, 2**64, 1.0, True, "1", None])
entries = st.builds(
    entry,
    st.sampled_from(sorted(BITS_OF_DTYPE)) | text,
    st.lists(counts, max_size=3),
    counts,
    counts,
)


@settings(max_examples=300)
@given(
    header=st.dictionaries(text | st.just("__metadata__"), entries, max_size=3),
    data=st.binary(max_size=9),
    length=st.none() | st.integers(0, 300),
)
def test_whatever_header_is_made_up_the_library_agrees(
    header: dict[str, Any], data: bytes, length: int | None
) -> None:
    verify_library_agrees(assemble(header, data, length=length))


@settings(max_examples=300)
@given(tensors=tensor_maps, data=st.data())
def test_whatever_byte_is_changed_the_library_agrees(
    tensors: dict[str, Any], data: st.DataObject
) -> None:
    file = bytearray(write(tensors, {"format": "pt"}))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(file) - 1))
        file[position] = data.draw(
            st.sampled_from(b'0123456789-.eE{}[]",:\\ \n\x00\xff') | st.integers(0, 255)
        )
    verify_library_agrees(bytes(file))


@given(tensors=tensor_maps, data=st.data())
def test_whatever_is_cut_or_added_the_library_agrees(
    tensors: dict[str, Any], data: st.DataObject
) -> None:
    file = write(tensors)
    cut = data.draw(st.integers(0, len(file)))
    assert verify_library_agrees(file[:cut]) == (cut == len(file))
    verify_library_agrees(file[:cut] + data.draw(st.binary(max_size=4)) + file[cut:])
    assert not verify_library_agrees(file + data.draw(st.binary(min_size=1, max_size=4)))


@given(
    sizes=st.lists(st.integers(0, 3), max_size=4),
    order=st.randoms(use_true_random=False),
    shift=st.integers(-1, 1),
)
def test_tensors_in_any_order_are_accepted_exactly_where_they_tile(
    sizes: list[int], order: Any, shift: int
) -> None:
    items = []
    position = 0
    sizes = [*sizes, 1]  # an empty one would fit in at any border
    for number, size in enumerate(sizes):
        begin = position + (shift if number == len(sizes) - 1 else 0)
        items.append((f"t{number}", entry("U8", [size], begin, begin + size)))
        position += size
    order.shuffle(items)
    file = assemble(dict(items), bytes(position))
    assert verify_library_agrees(file) == (shift == 0)


ITEM = json.dumps(entry("U8", [0], 0, 0))


@pytest.mark.parametrize(
    "header",
    [
        {"a": {**entry("U8", [0], 0, 0), "comment": 1}},
        {"a": ["U8", [0], [0, 0]]},
        f'{{"a":{ITEM},"a":{ITEM}}}'.encode(),
        b" {}",
        b"{}\n",
        {"a": entry("U8", [1] * 64 + [0], 0, 0)},
        {"a": entry("U8", [2**53, 0], 0, 0)},
        {"a": entry("U8", [0, 2**60, 2**60], 0, 0)},
        {"a": {**entry("U8", [0], 0, 0), "comment": [[[[1]]]]}},
    ],
)
def test_where_plait_is_stricter_than_the_library_it_says_so(header: Any) -> None:
    file = assemble(header)
    read_by_library(file)
    with pytest.raises(InvalidInput):
        parse(file)


def test_library_refuses_what_plait_refuses_as_ambiguous() -> None:
    for header in (
        b'{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}',
        b'{"__metadata__":{"a":"\\ud800"}}',
        b'{"a":{"dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0]}}',
    ):
        with pytest.raises(SafetensorError):
            read_by_library(assemble(header))
        with pytest.raises(InvalidInput):
            parse(assemble(header))


@given(tensors=tensor_maps, metadata=st.dictionaries(text, text, max_size=3))
def test_built_header_is_read_by_the_library(tensors: Any, metadata: dict[str, str]) -> None:
    ranges = [
        TensorRange(name, dtype, tuple(shape), 0, len(data))
        for name, (dtype, shape, data) in tensors.items()
    ]
    header, placed = build_header(ranges, metadata)
    file = header + b"".join(data for _, _, data in tensors.values())
    assert verify_library_agrees(file)
    assert sorted(parse(file).tensors, key=lambda t: t.name) == sorted(
        placed, key=lambda tensor: tensor.name
    )
    assert len(header) % 8 == 0
