"""Tensor-level dedup: which bytes of a file to ask for, and how to join it from what is stored.

A safetensors file most of whose tensors are stored already need not be sent whole: the client
sends the header and the missing tensors, joined, as one new object, and the file becomes a list
of extents. Its bytes are then verified like any other file's.

Every object that is uploaded ends with the salt of the repository that it comes to, some bytes that
belong to no file. So an object's name can only be known by who knows its bytes and may push to
that repository: nobody gets at bytes by their digest alone, and nobody learns from the store that
another repository holds the same ones (docs/decisions/0047).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from plait.errors import InvalidInput
from plait.model.ids import ObjectId
from plait.model.manifest import File
from plait_registry.domain.records import Extent

Ranges = tuple[tuple[int, int], ...]
Located = Mapping[ObjectId, Sequence[Extent]]
"""Where the bytes of stored tensors are, by digest."""

SALT_SIZE = 16
"""Bytes of a repository's salt."""
SMALLEST_SAVING = 64 * 1024
"""Bytes. Below this, one object in one request costs less than the bookkeeping of extents."""


def plan_ranges(file: File, located: Located) -> Ranges:
    """Return the ranges of `file` to ask for: all of it, unless most of its bytes are stored."""
    whole: Ranges = ((0, file.size),)
    if file.tensors is None:
        return whole
    saved = sum(tensor.size for tensor in file.tensors.entries if tensor.sha256 in located)
    if saved < SMALLEST_SAVING or 2 * saved <= file.size:
        return whole
    wanted: list[tuple[int, int]] = []
    for begin, end, tensor in _regions(file):
        if tensor is not None and tensor in located:
            continue
        if wanted and wanted[-1][1] == begin:
            wanted[-1] = (wanted[-1][0], end)
        else:
            wanted.append((begin, end))
    return tuple(wanted)


def join_extents(
    file: File, ranges: Ranges, *, uploaded: ObjectId, located: Located
) -> tuple[Extent, ...]:
    """Return the extents that make up `file`, where `uploaded` is the object of `ranges`, joined.

    Raises:
        InvalidInput: the ranges leave out bytes that are not stored, cut through a tensor, or are
            not in order.
    """
    if ranges == ((0, file.size),):
        return (Extent(uploaded, 0, file.size),) if file.size else ()
    wanted = dict(_split(file, ranges))
    extents: list[Extent] = []
    position = 0
    for begin, end, tensor in _regions(file):
        if begin in wanted:
            _append(extents, Extent(uploaded, position, end - begin))
            position += end - begin
        elif tensor is not None and tensor in located:
            for extent in located[tensor]:
                _append(extents, extent)
        else:
            raise InvalidInput(
                "invalid-input",
                f"The ranges of {file.path!r} leave out bytes {begin} to {end}, which are not "
                "stored: push again.",
            )
    return tuple(extents)


def _regions(file: File) -> Iterator[tuple[int, int, ObjectId | None]]:
    """Yield the header (with None) and each tensor (with its digest) as begin and end."""
    entries = file.tensors.entries if file.tensors is not None else ()
    yield 0, entries[0].offset if entries else file.size, None
    for tensor in entries:
        if tensor.size:
            yield tensor.offset, tensor.offset + tensor.size, tensor.sha256


def _split(file: File, ranges: Ranges) -> Iterator[tuple[int, int]]:
    """Yield the regions that `ranges` cover, which they must do in order and cutting none."""
    regions = {begin: end for begin, end, _ in _regions(file)}
    position = 0
    for begin, end in ranges:
        if not position <= begin < end:
            raise InvalidInput(
                "invalid-input", f"The ranges of {file.path!r} are empty or not in order."
            )
        position = begin
        while position < end:
            region_end = regions.get(position)
            if region_end is None or region_end > end:
                raise InvalidInput(
                    "invalid-input", f"The ranges of {file.path!r} cut through a tensor."
                )
            yield position, region_end
            position = region_end


def _append(extents: list[Extent], extent: Extent) -> None:
    """Add an extent, joined with the one before where the two are one range of one object."""
    last = extents[-1] if extents else None
    if last and last.object == extent.object and last.offset + last.size == extent.offset:
        extents[-1] = Extent(last.object, last.offset, last.size + extent.size)
    elif extent.size:
        extents.append(extent)
