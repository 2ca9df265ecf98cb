import pytest

from plait.errors import InvalidInput
from plait.model.ids import ObjectId, hash_bytes
from plait.model.manifest import File, Tensor, TensorTable
from plait.model.paths import FilePath
from plait_registry.domain.dedup import SMALLEST_SAVING, Ranges, join_extents, plan_ranges
from plait_registry.domain.records import Extent

KB = 1024
START = 1 * KB
UPLOADED = hash_bytes(b"uploaded")
OLD = hash_bytes(b"old object")


def digest(name: str) -> ObjectId:
    return hash_bytes(name.encode())


def make_file(**sizes: int) -> File:
    """A file whose tensors have names as digests; their sizes are in KiB."""
    entries = []
    position = START
    for name, size in sizes.items():
        entries.append(Tensor(name, "U8", (size * KB,), position, size * KB, digest(name)))
        position += size * KB
    table = TensorTable(digest("header"), tuple(entries))
    return File(FilePath("a.safetensors"), position, digest("file"), table)


def at(offset: int, size: int) -> list[Extent]:
    return [Extent(OLD, offset * KB, size * KB)]


def whole(file: File) -> Ranges:
    return ((0, file.size),)


def test_file_of_which_nothing_is_stored_is_wanted_whole() -> None:
    file = make_file(a=100, b=100)
    assert plan_ranges(file, {}) == whole(file)


def test_file_that_is_not_safetensors_is_wanted_whole() -> None:
    file = File(FilePath("a.txt"), 10, digest("file"), None)
    assert plan_ranges(file, {digest("file"): at(0, 1)}) == whole(file)
    assert join_extents(file, whole(file), uploaded=UPLOADED, located={}) == (
        Extent(UPLOADED, 0, 10),
    )


def test_empty_file_is_one_empty_range_and_no_extent() -> None:
    file = File(FilePath("a.txt"), 0, digest("file"), None)
    assert plan_ranges(file, {}) == ((0, 0),)
    assert join_extents(file, ((0, 0),), uploaded=UPLOADED, located={}) == ()


def test_only_header_and_missing_tensors_are_wanted_where_most_is_stored() -> None:
    file = make_file(a=10, embed=500, b=10, c=5, head=300)
    located = {digest("embed"): at(1, 500), digest("head"): at(900, 300)}
    assert plan_ranges(file, located) == ((0, 11 * KB), (511 * KB, 526 * KB))


def test_header_alone_is_wanted_where_every_tensor_is_stored() -> None:
    file = make_file(a=100, b=100)
    located = {digest("a"): at(0, 100), digest("b"): at(100, 100)}
    ranges = plan_ranges(file, located)
    assert ranges == ((0, START),)
    # Neighbours in the old object stay one extent.
    assert join_extents(file, ranges, uploaded=UPLOADED, located=located) == (
        Extent(UPLOADED, 0, START),
        Extent(OLD, 0, 200 * KB),
    )


def test_file_of_which_half_or_less_is_stored_is_wanted_whole() -> None:
    file = make_file(a=101, b=100)
    assert plan_ranges(file, {digest("b"): at(0, 100)}) == whole(file)
    assert plan_ranges(make_file(a=99, b=101), {digest("b"): at(0, 101)}) != whole(file)


def test_saving_too_small_for_the_bookkeeping_is_left() -> None:
    size = SMALLEST_SAVING // KB
    assert plan_ranges(file := make_file(a=size - 1), {digest("a"): at(0, 1)}) == whole(file)
    assert plan_ranges(make_file(a=size), {digest("a"): at(0, 1)}) == ((0, START),)


def test_empty_tensors_take_no_range_and_no_extent() -> None:
    file = make_file(none=0, a=100, zero=0, b=1, last=0)
    located = {digest("a"): at(7, 100), digest("zero"): [], digest("none"): []}
    ranges = plan_ranges(file, located)
    assert ranges == ((0, START), (101 * KB, 102 * KB))
    assert join_extents(file, ranges, uploaded=UPLOADED, located=located) == (
        Extent(UPLOADED, 0, START),
        Extent(OLD, 7 * KB, 100 * KB),
        Extent(UPLOADED, START, 1 * KB),
    )


def test_tensor_stored_in_pieces_is_joined_from_its_pieces() -> None:
    file = make_file(a=100)
    pieces = [*at(50, 60), Extent(OLD, 0, 0), *at(5, 40)]
    assert join_extents(file, ((0, START),), uploaded=UPLOADED, located={digest("a"): pieces}) == (
        Extent(UPLOADED, 0, START),
        *at(50, 60),
        *at(5, 40),
    )


def test_tensor_may_be_sent_although_it_is_stored() -> None:
    # An upload that was begun goes on as it was planned, also where more is known by now.
    file = make_file(a=100, b=100)
    located = {digest("a"): at(0, 100), digest("b"): at(100, 100)}
    assert join_extents(
        file, ((0, START), (101 * KB, 201 * KB)), uploaded=UPLOADED, located=located
    ) == (
        Extent(UPLOADED, 0, START),
        Extent(OLD, 0, 100 * KB),
        Extent(UPLOADED, START, 100 * KB),
    )


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        ((), "leave out bytes 0 to"),
        (((0, 1),), "cut through"),
        (((0, START + 1),), "cut through"),
        (((1, START),), "cut through"),
        (((START, 101 * KB),), "leave out bytes 0 to"),
        (((0, START),), "leave out bytes"),
        (((0, 101 * KB),), "leave out bytes"),
        (((0, 201 * KB + 1),), "cut through"),
        (((0, START), (0, START)), "not in order"),
        (((0, 101 * KB), (START, 101 * KB)), "not in order"),
        (((101 * KB, 201 * KB), (0, START)), "not in order"),
        (((0, START), (START, START)), "empty or not in order"),
        (((0, START), (101 * KB, START)), "empty or not in order"),
        (((-5, 0), (0, START)), "empty or not in order"),
        (((0, START), (300 * KB, 301 * KB)), "cut through"),
        (((0, 2**63),), "cut through"),
    ],
)
def test_ranges_that_cannot_make_the_file_are_refused(ranges: Ranges, reason: str) -> None:
    file = make_file(a=100, b=100)
    with pytest.raises(InvalidInput, match=reason) as caught:
        join_extents(file, ranges, uploaded=UPLOADED, located={})
    assert caught.value.kind == "invalid-input"
