from collections.abc import Mapping, Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import InvalidInput
from plait.model.digesting import digest_file
from plait.model.ids import ObjectId, hash_bytes
from plait.model.manifest import File
from plait.model.paths import FilePath
from plait_registry.domain.dedup import SMALLEST_SAVING, Ranges, join_extents, plan_ranges
from plait_registry.domain.extents import cut_extents
from plait_registry.domain.records import Extent
from reference.safetensors_writer import write

# Sizes around the smallest saving, so that every decision of the plan comes up.
sizes = st.sampled_from([0, 1, 10, 1_000, SMALLEST_SAVING // 2, SMALLEST_SAVING])
tensors = st.lists(st.tuples(sizes, st.integers(0, 3)), max_size=8)


class Store:
    """Objects by digest; what a tensor has there may be in pieces."""

    def __init__(self) -> None:
        self.objects: dict[ObjectId, bytes] = {}

    def add(self, data: bytes) -> ObjectId:
        key = hash_bytes(data)
        self.objects[key] = data
        return key

    def read(self, extents: Sequence[Extent]) -> bytes:
        return b"".join(
            self.objects[extent.object][extent.offset : extent.offset + extent.size]
            for extent in extents
        )


def make(spec: list[tuple[int, int]]) -> tuple[File, bytes]:
    data = write(
        {str(n): ("U8", [size], bytes([fill]) * size) for n, (size, fill) in enumerate(spec)}
    )
    return digest_file(FilePath("a.safetensors"), len(data), [data]), data


def locate(
    draw: st.DataObject, store: Store, file: File, data: bytes
) -> Mapping[ObjectId, Sequence[Extent]]:
    """Put some tensors of the file into the store, behind other bytes and cut in two."""
    located: dict[ObjectId, Sequence[Extent]] = {}
    for tensor in file.tensors.entries if file.tensors else ():
        if draw.draw(st.booleans()):
            content = data[tensor.offset : tensor.offset + tensor.size]
            cut = draw.draw(st.integers(0, len(content)))
            first, second = (
                store.add(b"before" + content[:cut]),
                store.add(content[cut:] + b"after"),
            )
            extents = (Extent(first, 6, cut), Extent(second, 0, len(content) - cut))
            located[tensor.sha256] = [extent for extent in extents if extent.size]
    return located


def upload(store: Store, data: bytes, ranges: Ranges) -> ObjectId:
    return store.add(b"".join(data[begin:end] for begin, end in ranges))


@given(spec=tensors, draw=st.data())
def test_planned_ranges_and_stored_tensors_make_exactly_the_file(
    spec: list[tuple[int, int]], draw: st.DataObject
) -> None:
    file, data = make(spec)
    store = Store()
    located = locate(draw, store, file, data)
    ranges = plan_ranges(file, located)
    extents = join_extents(file, ranges, uploaded=upload(store, data, ranges), located=located)
    assert store.read(extents) == data
    assert all(extent.size > 0 for extent in extents)
    wanted = sum(end - begin for begin, end in ranges)
    assert wanted == file.size or 2 * wanted < file.size
    assert all(end < begin for (_, end), (begin, _) in pairwise(ranges))


@settings(max_examples=300)
@given(spec=tensors, draw=st.data())
def test_any_ranges_at_all_make_exactly_the_file_or_are_refused(
    spec: list[tuple[int, int]], draw: st.DataObject
) -> None:
    file, data = make(spec)
    store = Store()
    located = locate(draw, store, file, data)
    borders = [0, file.size, *(t.offset for t in file.tensors.entries if file.tensors)]  # type: ignore[union-attr]
    place = st.sampled_from(borders) | st.integers(-1, file.size + 1)
    ranges = tuple(draw.draw(st.lists(st.tuples(place, place), max_size=3)))
    try:
        extents = join_extents(file, ranges, uploaded=upload(store, data, ranges), located=located)
    except InvalidInput:
        return
    assert store.read(extents) == data


@given(
    lengths=st.lists(st.integers(0, 5), max_size=5),
    begin=st.integers(0, 30),
    size=st.integers(0, 30),
)
def test_cut_extents_hold_exactly_the_bytes_of_the_range(
    lengths: list[int], begin: int, size: int
) -> None:
    store = Store()
    whole = [
        Extent(store.add(b"before" + bytes([65 + number]) * length), 6, length)
        for number, length in enumerate(lengths)
    ]
    cut = cut_extents(whole, begin, size)
    assert store.read(cut) == store.read(whole)[begin : begin + size]
    assert all(extent.size > 0 for extent in cut)
