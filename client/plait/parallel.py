"""Work in several threads that ends as one: with the first failure, or with all of it done."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = 4
"""Transfers at once: enough to fill a link, few enough for a registry with many clients."""


class Stopped(Exception):
    """Raised inside work that is no longer wanted."""


class StopSign:
    """Tells long work to end early."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask for the end."""
        self._event.set()

    def check(self) -> None:
        """Raise `Stopped` if the end was asked for; call it between two pieces."""
        if self._event.is_set():
            raise Stopped


def run_parallel(tasks: Iterable[Callable[[StopSign], None]], *, workers: int = WORKERS) -> None:
    """Run all tasks; raise the first failure, after what else runs has ended.

    An interrupt (Ctrl-C) ends them in the same way.
    """
    stop = StopSign()
    failures: list[BaseException] = []

    def attempt(task: Callable[[StopSign], None]) -> None:
        try:
            stop.check()
            task(stop)
        except Stopped:
            return
        except BaseException as failure:
            failures.append(failure)
            stop.set()
            raise

    with ThreadPoolExecutor(workers, thread_name_prefix="plait") as pool:
        try:
            wait([pool.submit(attempt, task) for task in tasks])
        except BaseException:
            stop.set()
            raise
    if failures:
        raise failures[0]


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
) -> Generator[Result]:
    """Yield `function(item)` for each item, in their order, computed by several threads.

    Only a few results wait at a time, whatever the number of items. The first failure, in the order
    of the items, ends it all.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="plait") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
