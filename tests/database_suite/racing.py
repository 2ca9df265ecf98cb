"""Threads that start together."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

LONGEST_S = 60


def race(count: int, run: Callable[[int], T]) -> Sequence[T]:
    """Run `run` in so many threads at once; return what each returned."""
    barrier = threading.Barrier(count)

    def start(number: int) -> T:
        barrier.wait(LONGEST_S)
        return run(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count), timeout=LONGEST_S))
