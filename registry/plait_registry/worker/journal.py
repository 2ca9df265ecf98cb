"""The thread that keeps the journal of refs, within seconds of each change.

It may lag behind, and say so in the log, while the store or the database is away; what it has not
written when the process ends, the next one writes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from plait.errors import PlaitError

IDLE_S = 1.0
"""How late a change may be written."""
PAUSE_S = 10.0
"""How long to wait after a fault."""

_LOG = logging.getLogger("plait_registry.journal")


class JournalLoop:
    """A thread that calls `write` again and again."""

    def __init__(self, write: Callable[[], int], *, idle_s: float = IDLE_S) -> None:
        self._write = write
        self._idle_s = idle_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, wait_s: float = 2.0) -> None:
        """Write once more what is behind, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._step())
        self._step()

    def _step(self) -> float:
        try:
            self._write()
        except PlaitError as error:
            _LOG.warning("the journal of refs was not written: %s", error.message)
            return PAUSE_S
        except Exception:  # noqa: BLE001 - the outermost edge of the thread
            _LOG.exception("the journal of refs was not written")
            return PAUSE_S
        return self._idle_s
