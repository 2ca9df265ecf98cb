"""Which bytes of which files a bundle carries: nothing twice, and nothing that the receiver has.

- A file is carried once, however many versions hold it, and not at all if a prerequisite has it.
- Of a safetensors file, tensors that stand earlier in the bundle are left out.
- Tensors of the prerequisites are left out where they are most of a file: the rule by which a
  registry asks for a part of a file only, so that what is left out is not asked for.
- Where this saves little, the file is carried whole, and any tar program can take it out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plait.bundle.contents import CarriedFile, Ranges
from plait.errors import Integrity, InvalidInput
from plait.model.ids import ObjectId
from plait.model.manifest import File, Manifest

SMALLEST_SAVING = 64 * 1024
"""Bytes, as the registry has it."""


@dataclass(frozen=True, slots=True)
class Region:
    """A range of a file that has a digest of its own."""

    begin: int
    end: int
    sha256: ObjectId
    is_tensor: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.begin


class Planner:
    """Plans the files of one bundle, given in the order of its manifests."""

    def __init__(self, prerequisites: Iterable[Manifest]) -> None:
        self._files: set[ObjectId] = set()
        self._required: set[ObjectId] = set()
        self._carried: set[ObjectId] = set()
        for manifest in prerequisites:
            for file in manifest.files:
                self._files.add(file.sha256)
                self._required |= {region.sha256 for region in list_tensors(file)}

    def plan(self, file: File) -> CarriedFile | None:
        """Return what to carry of a file; None where that is nothing."""
        if file.sha256 in self._files:
            return None
        self._files.add(file.sha256)
        tensors = list(list_tensors(file))
        known = self._carried
        if is_most_of(sum(t.size for t in tensors if t.sha256 in self._required), file.size):
            known = known | self._required
        ranges = _select(file, known)
        self._carried |= {tensor.sha256 for tensor in tensors}
        if file.size - sum(end - begin for begin, end in ranges) < SMALLEST_SAVING:
            return CarriedFile(file.sha256, file.size)
        return CarriedFile(file.sha256, file.size, ranges)


def is_most_of(saved: int, size: int) -> bool:
    """Tell whether a registry that has `saved` bytes of a file asks for the others alone."""
    return saved >= SMALLEST_SAVING and 2 * saved > size


def list_regions(file: File) -> Iterator[Region]:
    """Yield what a file consists of: the header and the tensors, or all of it."""
    table = file.tensors
    if table is None:
        yield Region(0, file.size, file.sha256, is_tensor=False)
        return
    header_end = file.size if table.data_offset is None else table.data_offset
    yield Region(0, header_end, table.header_sha256, is_tensor=False)
    yield from list_tensors(file)


def list_tensors(file: File) -> Iterator[Region]:
    """Yield the tensors of a file that have any bytes."""
    for entry in file.tensors.entries if file.tensors is not None else ():
        if entry.size:
            yield Region(entry.offset, entry.offset + entry.size, entry.sha256, is_tensor=True)


def list_carried(file: File, carried: CarriedFile) -> list[Region]:
    """Return the regions that a member holds; one for a whole file.

    Raises:
        InvalidInput: `invalid-bundle`, the ranges cut through a region or leave the header out.
    """
    if carried.size != file.size:
        raise _unfit(file)
    if carried.ranges is None:
        return [Region(0, file.size, file.sha256, is_tensor=False)]
    left = list(reversed(carried.ranges))
    found: list[Region] = []
    for region in list_regions(file):
        if not left or region.end <= left[-1][0]:
            continue
        begin, end = left[-1]
        # A region reaches into the range, so it must begin where that begins or goes on.
        expected = found[-1].end if found and begin < found[-1].end else begin
        if region.begin != expected or region.end > end:
            raise _unfit(file)
        found.append(region)
        if region.end == end:
            left.pop()
    if left or not found or found[0].begin:
        raise _unfit(file)
    return found


class RegionCheck:
    """Checks the bytes of a member against the digests of its regions, as they stream past."""

    def __init__(self, file: File, carried: CarriedFile) -> None:
        self._path = file.path
        self._regions = list_carried(file, carried)
        self._index = 0
        self._left = self._regions[0].size
        self._digest = hashlib.sha256()

    def update(self, piece: memoryview) -> None:
        """Take the next bytes.

        Raises:
            Integrity: `digest-mismatch`.
        """
        while len(piece):
            if self._index == len(self._regions):
                raise self._wrong()
            taken = piece[: self._left]
            self._digest.update(taken)
            self._left -= len(taken)
            piece = piece[len(taken) :]
            if not self._left:
                self._close()

    def finish(self) -> None:
        """Check that all bytes were there.

        Raises:
            Integrity: `digest-mismatch`.
        """
        if self._index < len(self._regions):
            self._close()
        if self._index < len(self._regions):
            raise self._wrong()

    def _close(self) -> None:
        region = self._regions[self._index]
        if self._digest.hexdigest() != region.sha256:
            raise self._wrong()
        self._index += 1
        self._digest = hashlib.sha256()
        self._left = self._regions[self._index].size if self._index < len(self._regions) else 0

    def _wrong(self) -> Integrity:
        return Integrity(
            "digest-mismatch",
            f"The bytes of {self._path} are not those that its version names: do not use them.",
            path=self._path,
        )


def _select(file: File, known: set[ObjectId]) -> Ranges:
    """Return the ranges of what is not known; a tensor that stands twice is taken once."""
    ranges: list[tuple[int, int]] = []
    taken: set[ObjectId] = set()
    for region in list_regions(file):
        if region.is_tensor and (region.sha256 in known or region.sha256 in taken):
            continue
        if region.is_tensor:
            taken.add(region.sha256)
        if ranges and ranges[-1][1] == region.begin:
            ranges[-1] = (ranges[-1][0], region.end)
        else:
            ranges.append((region.begin, region.end))
    return tuple(ranges)


def _unfit(file: File) -> InvalidInput:
    return InvalidInput(
        "invalid-bundle", f"The bundle carries other parts of {file.path!r} than the file has."
    )
