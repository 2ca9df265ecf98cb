"""How objects are cut: both sides must agree to the byte."""

import pytest

from plait.errors import InvalidInput
from plait.model.ids import hash_bytes
from plait.model.part_sizes import MIB, MOST_PARTS, PartSizes

GIB = 1024 * MIB
OBJECT = hash_bytes(b"")


@pytest.mark.parametrize("size", [0, 1, 64 * MIB])
def test_object_up_to_the_limit_goes_in_one_request(size: int) -> None:
    assert PartSizes().tile(size) == [(0, size)]
    assert PartSizes().tile_with(OBJECT, size, ()) == [(0, size, OBJECT)]


@pytest.mark.parametrize("size", [64 * MIB + 1, GIB, 16_000 * MIB, 50 * GIB, 700 * GIB])
def test_parts_tile_an_object_and_never_become_too_many(size: int) -> None:
    tiles = PartSizes().tile(size)
    assert 1 < len(tiles) <= MOST_PARTS
    assert [offset for offset, _ in tiles] == [number * tiles[0][1] for number in range(len(tiles))]
    assert sum(part for _, part in tiles) == size
    assert tiles[0][1] % (16 * MIB) == 0


def test_digests_that_are_none_or_too_few_are_refused() -> None:
    sizes = PartSizes(largest_whole=4, part=2)
    digests = [OBJECT, hash_bytes(b"a"), hash_bytes(b"b")]
    assert sizes.tile_with(OBJECT, 5, digests) == [
        (0, 2, digests[0]),
        (2, 2, digests[1]),
        (4, 1, digests[2]),
    ]
    for wrong in ([], digests[:2], ["x", *digests[1:]]):
        with pytest.raises(InvalidInput):
            sizes.tile_with(OBJECT, 5, wrong)
    with pytest.raises(InvalidInput):
        sizes.tile_with(OBJECT, 4, digests[:1])
