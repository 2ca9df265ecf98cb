"""The threads that deliver events, and remove old ones once an hour.

They end by `stop`; what they were sending when the process was killed instead is sent again when
its lease has run out. A fault is logged, and work goes on: a receiver or a database that is away
must not end deliveries for good.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from plait.errors import PlaitError

IDLE_S = 1.0
"""How long to wait when nothing is due, which is how late an event may be sent."""
PAUSE_S = 5.0
"""How long to wait after a fault."""
PRUNE_EVERY_S = 3_600.0
STOP_S = 6.0
"""How long a stop waits: a request that takes longer is sent again by another start."""

_LOG = logging.getLogger("plait_registry.delivery")


class DeliveryLoop:
    """Threads that call `deliver` while it finds something to do."""

    def __init__(
        self,
        deliver: Callable[[], bool],
        prune: Callable[[], int],
        *,
        idle_s: float = IDLE_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._deliver = deliver
        self._prune = prune
        self._idle_s = idle_s
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, threads: int = 1) -> None:
        """Begin to deliver, so many events at a time."""
        works = [self._clean, *[self._work] * threads]
        # Daemons, so that a receiver that does not answer cannot hold up the end of the program.
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def stop(self, wait_s: float = STOP_S) -> None:
        """Begin no further attempt, and wait a while for those under way."""
        self._stopping.set()
        end = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._step())

    def _clean(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._clean_step())

    def _step(self) -> float:
        """Make one attempt; return how long to wait before the next one."""
        try:
            return 0.0 if self._deliver() else self._idle_s
        except PlaitError as error:
            _LOG.warning("delivery failed: %s", error.message)
        except Exception:  # noqa: BLE001 - the outermost edge of the thread
            _LOG.exception("delivery failed")
        return self._pause_s

    def _clean_step(self) -> float:
        try:
            removed = self._prune()
        except PlaitError as error:
            _LOG.warning("old events were not removed: %s", error.message)
            return self._pause_s
        if removed:
            _LOG.info("removed %d old events", removed)
        return PRUNE_EVERY_S
