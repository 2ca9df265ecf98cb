import threading
from collections.abc import Iterator

import pytest

from plait.errors import Unavailable
from plait_registry.services.read_ahead import DEPTH, read_ahead


class Source:
    """Counts up, and notes how far it was asked."""

    def __init__(self, count: int, *, fails_at: int | None = None) -> None:
        self.asked = 0
        self._count = count
        self._fails_at = fails_at

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._count):
            self.asked += 1
            if number == self._fails_at:
                raise Unavailable("unavailable", "The store is away.")
            yield b"%d" % number


@pytest.mark.parametrize("count", [0, 1, DEPTH, 100])
def test_pieces_come_in_their_order(count: int) -> None:
    pieces = read_ahead(iter(Source(count)))
    assert list(pieces) == [b"%d" % number for number in range(count)]


def test_failure_comes_after_the_pieces_before_it() -> None:
    seen: list[bytes] = []
    with pytest.raises(Unavailable, match="away"):
        seen.extend(read_ahead(iter(Source(20, fails_at=7))))
    source = read_ahead(iter(Source(20, fails_at=7)))
    assert [next(source) for _ in range(7)][-1] == b"6"
    with pytest.raises(Unavailable):
        next(source)


def test_no_more_is_fetched_than_may_wait() -> None:
    source = Source(100)
    pieces = read_ahead(iter(source))
    assert next(pieces) == b"0"
    pieces.close()
    assert source.asked <= 1 + DEPTH
    assert not any("read-ahead" in thread.name for thread in threading.enumerate())
