"""Ranges of files, as ranges of the objects that hold their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from plait.model import canonical
from plait.model.ids import ObjectId, hash_bytes
from plait_registry.domain.records import Extent

FORMAT = "plait.extents/1"
LARGEST_SPAN = 16 << 20
"""Bytes that one signed request for a range allows: as many as clients fetch at once."""


@dataclass(frozen=True, slots=True)
class Document:
    """A small object that the registry writes itself."""

    id: ObjectId
    body: bytes


def describe_extents(file: ObjectId, extents: Sequence[Extent]) -> Document:
    """Return the document from which a file's extents can be rebuilt without the database."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "file": file,
        "size": sum(extent.size for extent in extents),
        "extents": [
            {"object": extent.object, "offset": extent.offset, "size": extent.size}
            for extent in extents
        ],
    }
    body = canonical.dumps(document)
    return Document(hash_bytes(body), body)


def cut_extents(extents: Sequence[Extent], offset: int, size: int) -> tuple[Extent, ...]:
    """Return the extents of `size` bytes of a file from `offset` on; none for no bytes."""
    return tuple(_cut(extents, offset, offset + size))


def split_extent(extent: Extent) -> Iterator[Extent]:
    """Yield an extent in pieces of at most `LARGEST_SPAN` bytes."""
    for begin in range(0, extent.size, LARGEST_SPAN):
        size = min(LARGEST_SPAN, extent.size - begin)
        yield Extent(extent.object, extent.offset + begin, size)


def _cut(extents: Sequence[Extent], begin: int, end: int) -> Iterator[Extent]:
    position = 0
    for extent in extents:
        low, high = max(begin, position), min(end, position + extent.size)
        if low < high:
            yield Extent(extent.object, extent.offset + low - position, high - low)
        position += extent.size
        if position >= end:
            return
