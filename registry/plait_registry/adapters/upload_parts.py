"""How an object is cut into the requests that upload it."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


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
        return [(offset, min(self.part, size - offset)) for offset in range(0, size, self.part)]
