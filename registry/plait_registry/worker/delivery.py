"""The threads that deliver events, and remove old ones once an hour.

They end by `stop`; what they were sending when the process was killed instead is sent again when
its lease has run out. A fault is logged, and work goes on: a receiver or a database that is away
must not end deliveries for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from plait.errors import PlaitError
from plait_registry.worker.repeating_threads import RepeatingThreads

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
        self._threads = RepeatingThreads()

    def start(self, threads: int = 1) -> None:
        """Begin to deliver, so many events at a time."""
        self._threads.start([self._clean_step, *[self._step] * threads])

    def stop(self, wait_s: float = STOP_S) -> None:
        """Begin no further attempt, and wait a while for those under way."""
        self._threads.stop(wait_s)

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
