"""Reading ahead: the next pieces of a stream are fetched while those before are looked at.

The store and the digests take about as long as each other: done in turn, each waits for the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

DEPTH = 4
"""Pieces that wait at most; a few even out what a network does."""


def read_ahead(pieces: Iterator[bytes]) -> Generator[bytes]:
    """Yield what `pieces` yields, in order, fetched by a thread of its own.

    Raises what `pieces` raises, at the same place. Closing it ends the thread, after `DEPTH` more
    pieces at most.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting = deque(pool.submit(next, pieces, None) for _ in range(DEPTH))
        while (piece := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, pieces, None))
            yield piece
