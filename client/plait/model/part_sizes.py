"""How an object is cut into the requests that upload it: the same on both sides.

The client tells the digest of every part before the registry signs the requests, so both must cut
alike. Parts grow with the object where it would need more than `MOST_PARTS` of them: object stores
allow 1,000 (OpenStack Swift) to 10,000 (Amazon S3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait.errors import InvalidInput
from plait.model.ids import ObjectId, parse_object_id

MIB = 1024 * 1024
MOST_PARTS = 1_000


@dataclass(frozen=True, slots=True)
class PartSizes:
    """Where parts begin to pay: a part is what is sent anew after an interruption."""

    largest_whole: int = 64 * MIB
    """Bytes. Objects up to this size go in one request."""
    part: int = 16 * MIB
    """Bytes of every part of a larger object, less for the last."""

    def __post_init__(self) -> None:
        if not 0 < self.part <= self.largest_whole:
            raise ValueError("an object in parts must have at least two of them")

    def is_whole(self, size: int) -> bool:
        """Return whether an object of `size` bytes goes in one request."""
        return size <= self.largest_whole

    def tile(self, size: int) -> list[tuple[int, int]]:
        """Return offset and size of each request's bytes, in order; at least one."""
        if self.is_whole(size):
            return [(0, size)]
        part = self.part
        while part * MOST_PARTS < size:
            part *= 2
        return [(offset, min(part, size - offset)) for offset in range(0, size, part)]

    def tile_with(
        self, object_id: ObjectId, size: int, digests: Sequence[str]
    ) -> list[tuple[int, int, ObjectId]]:
        """Return the tiles with the sha256 of each; an object in one request has the object's.

        Raises:
            InvalidInput: `digests` are not those of as many parts as the object has.
        """
        tiles = self.tile(size)
        if self.is_whole(size):
            if digests:
                raise InvalidInput(
                    "invalid-input", f"An object of {size} bytes goes in one request, not in parts."
                )
            return [(0, size, object_id)]
        if len(digests) != len(tiles):
            raise InvalidInput(
                "invalid-input",
                f"An object of {size} bytes goes in {len(tiles)} parts, whose sha256 must be told: "
                f"{len(digests)} were.",
            )
        return [
            (offset, part, parse_object_id(digest))
            for (offset, part), digest in zip(tiles, digests, strict=True)
        ]
