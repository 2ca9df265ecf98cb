"""Ranges of files, as ranges of the objects that hold their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait_registry.domain.records import Extent


def cut_extents(extents: Sequence[Extent], offset: int, size: int) -> tuple[Extent, ...]:
    """Return the extents of `size` bytes of a file from `offset` on; none for no bytes."""
    return tuple(_cut(extents, offset, offset + size))


def _cut(extents: Sequence[Extent], begin: int, end: int) -> Iterator[Extent]:
    position = 0
    for extent in extents:
        low, high = max(begin, position), min(end, position + extent.size)
        if low < high:
            yield Extent(extent.object, extent.offset + low - position, high - low)
        position += extent.size
        if position >= end:
            return
