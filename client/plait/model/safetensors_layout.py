"""The layout of a safetensors file, read from its header by the rules of the format.

A file is 8 bytes (the header's length n, little-endian), n bytes of JSON, then the data section.
Enforced here (https://github.com/huggingface/safetensors, "Format"):

- the header is at most 100 MB, begins with `{` and is padded at the end with spaces only;
- no duplicate names, and `__metadata__` maps strings to strings;
- dtype x shape = size for every tensor, and the shape is one that an array can have;
- the tensors tile the data section: in bounds, no overlap, no hole, nothing after the last.

Offsets in this module count from the start of the **file**, not of the data section, so that a
range can be read without knowing the header.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.errors import InvalidInput, TooLarge
from plait.model import canonical

LARGEST_HEADER = 100_000_000
"""The format's own limit on the header, in bytes."""
MOST_TENSORS = 100_000
MOST_MARKS_OF_A_TENSOR = 16
"""Commas and opening brackets: a matrix has eight."""
MOST_MARKS_OF_METADATA = 1_000_000
"""Training tools keep JSON of a few hundred kilobytes in there."""
MOST_DIMENSIONS = 64
"""Of numpy and of torch."""
LARGEST_COUNT = 2**53 - 1
"""The largest length and offset: what canonical JSON can hold, and far below an overflow."""
PREFIX_SIZE = 8

BITS_OF_DTYPE = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


@dataclass(frozen=True, slots=True)
class TensorRange:
    """Where one tensor lies in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    """First byte, counted from the start of the file."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class SafetensorsLayout:
    """A parsed header."""

    header_size: int
    """The 8-byte prefix plus the JSON: where the data section begins."""
    file_size: int
    metadata: Mapping[str, str]
    tensors: tuple[TensorRange, ...]
    """In the order of their offsets."""


def header_size(prefix: bytes, *, file_size: int, largest: int = LARGEST_HEADER) -> int:
    """Return where the data section begins, from the first 8 bytes of the file.

    Raises:
        InvalidInput: the file is truncated.
        TooLarge: the header is over the limit.
    """
    if len(prefix) < PREFIX_SIZE:
        raise _invalid("is shorter than the 8 bytes of its header's length")
    length = int.from_bytes(prefix[:PREFIX_SIZE], "little")
    if length > largest:
        raise TooLarge(
            "header-too-large",
            f"The safetensors header claims {length} bytes; at most {largest} are allowed.",
            size=length,
            limit=largest,
        )
    if PREFIX_SIZE + length > file_size:
        raise _invalid(f"is truncated: its header claims {length} bytes of a {file_size} byte file")
    return PREFIX_SIZE + length


def parse_header(
    header: bytes, *, file_size: int, most_tensors: int = MOST_TENSORS
) -> SafetensorsLayout:
    """Return the layout that `header` describes, with every rule of the module checked.

    `header` is the prefix and the JSON: the first `header_size(...)` bytes of the file.

    Raises:
        InvalidInput: a rule is broken; the message names the tensor.
        TooLarge: there are too many tensors.
    """
    document = _load_document(header[PREFIX_SIZE:], most_tensors)
    metadata = _parse_metadata(document.pop("__metadata__", None))
    if len(document) > most_tensors:
        raise TooLarge(
            "too-many-tensors",
            f"The file has {len(document)} tensors; at most {most_tensors} are allowed.",
            count=len(document),
            limit=most_tensors,
        )
    start = len(header)
    tensors = sorted(
        (_parse_entry(name, entry, start) for name, entry in document.items()),
        # An empty tensor shares its offset with the next one; by size it comes first.
        key=lambda tensor: (tensor.offset, tensor.size, tensor.name),
    )
    _verify_tiling(tensors, start=start, file_size=file_size)
    return SafetensorsLayout(start, file_size, metadata, tuple(tensors))


def build_header(
    tensors: Sequence[TensorRange], metadata: Mapping[str, str]
) -> tuple[bytes, tuple[TensorRange, ...]]:
    """Return the header of a file that holds `tensors` in the given order, and where they lie.

    The JSON is padded with spaces so that the data section is aligned to 8 bytes, as the
    reference implementation does it.
    """
    document: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for tensor in tensors:
        document[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [position, position + tensor.size],
        }
        position += tensor.size
    body = canonical.dumps(document)
    body += b" " * (-len(body) % 8)
    start = PREFIX_SIZE + len(body)
    placed = []
    for tensor in tensors:
        placed.append(TensorRange(tensor.name, tensor.dtype, tensor.shape, start, tensor.size))
        start += tensor.size
    return len(body).to_bytes(PREFIX_SIZE, "little") + body, tuple(placed)


def tensor_size(dtype: str, shape: Sequence[int]) -> int:
    """Return the bytes of a tensor.

    Raises:
        InvalidInput: the dtype is unknown, or its bits do not fill whole bytes.
    """
    bits = BITS_OF_DTYPE.get(dtype)
    if bits is None:
        raise _invalid(f"uses the unknown dtype {dtype!r:.40}")
    if len(shape) > MOST_DIMENSIONS:
        raise _invalid(f"has a tensor of {len(shape)} dimensions; at most {MOST_DIMENSIONS} exist")
    # Readers multiply in 64 bits, and some before they notice that the tensor is empty.
    if bits * math.prod(length for length in shape if length) > 8 * LARGEST_COUNT:
        raise _invalid(f"has a tensor of {dtype} with an impossible shape, {list(shape)!r:.200}")
    total = bits * math.prod(shape)
    if total % 8:
        raise _invalid(f"has a tensor of {dtype} whose {total} bits do not fill whole bytes")
    return total // 8


def _load_document(raw: bytes, most_tensors: int) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise _invalid("has a header that does not begin with '{'")
    if not raw.rstrip(b" ").endswith(b"}"):
        raise _invalid("has a header that is not one JSON object, padded with spaces")
    # Parsed JSON takes many times its bytes: 100 MB of `[],[],` would fill gigabytes.
    marks = sum(raw.count(mark) for mark in (b",", b"[", b"{"))
    limit = MOST_MARKS_OF_METADATA + MOST_MARKS_OF_A_TENSOR * most_tensors
    if marks > limit:
        raise TooLarge(
            "header-too-large",
            f"The safetensors header holds {marks} commas and brackets; at most {limit} are "
            f"allowed, which is ample for {most_tensors} tensors.",
            size=marks,
            limit=limit,
        )
    document: dict[str, Any] = canonical.loads(raw)  # what begins with { is an object
    return document


def _parse_metadata(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _invalid("has a __metadata__ that does not map strings to strings")
    return {str(key): text for key, text in value.items()}


def _parse_entry(name: str, entry: object, start: int) -> TensorRange:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _invalid(f"describes {name!r:.200} by other than dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        raise _invalid(f"gives the tensor {name!r:.200} a dtype that is not a string")
    if not isinstance(shape, list) or not all(_is_count(length) for length in shape):
        raise _invalid(f"gives the tensor {name!r:.200} a shape that is not a list of sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise _invalid(f"gives the tensor {name!r:.200} data_offsets that are not two offsets")
    begin, end = offsets
    expected = tensor_size(dtype, shape)
    if end - begin != expected:
        raise _invalid(
            f"gives {name!r:.200} {end - begin} bytes where {dtype} {shape!r:.200} takes {expected}"
        )
    return TensorRange(name, dtype, tuple(shape), start + begin, expected)


def _verify_tiling(tensors: Sequence[TensorRange], *, start: int, file_size: int) -> None:
    position = start
    for tensor in tensors:
        if tensor.offset != position:
            fault = "overlaps another" if tensor.offset < position else "leaves a hole before it"
            raise _invalid(f"has a tensor {tensor.name!r:.200} that {fault}")
        position += tensor.size
    if position > file_size:
        raise _invalid(f"is truncated: its tensors end at byte {position} of {file_size}")
    if position < file_size:
        raise _invalid(f"has {file_size - position} bytes after its last tensor")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT


def _invalid(what: str) -> InvalidInput:
    return InvalidInput("invalid-safetensors", f"The safetensors file {what}.")
