"""Threads that each take a step, wait as long as it says, and go on until they are stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

Step = Callable[[], float]
"""Does some work, never raises, and returns how many seconds to wait before the next one."""


class RepeatingThreads:
    """Daemons: nothing that does not answer can hold up the end of the program."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def is_stopping(self) -> bool:
        """Whether a long step should come to its end."""
        return self._stopping.is_set()

    def start(self, steps: Iterable[Step]) -> None:
        """Begin, a thread for each step."""
        self._threads = [
            threading.Thread(target=self._repeat, args=(step,), daemon=True) for step in steps
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, wait_s: float) -> None:
        """Begin no further step, and wait a while for those under way."""
        self._stopping.set()
        end = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _repeat(self, step: Step) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(step())
