"""What the process of a job tells the registry while it works: that it lives, and how far it is.

A thread of its own reports every few seconds, however long a computation or a request takes, since
each report makes the job's lease last longer. When it is told to stop, or hears that the job is
another's by now, it ends the process at once: nothing of a job is visible before its push ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from plait import wire, wire_jobs
from plait.errors import PlaitError, Unavailable
from plait.transport import Transport

EVERY_S = 5.0
"""A twelfth of a lease."""
LEAST_S = 1.0
"""Between two reports, however much happens."""


class JobReporter:
    """Reports about one job; a `plait.progress.Progress`."""

    def __init__(
        self,
        transport: Transport,
        job: str,
        *,
        on_stop: Callable[[], None],
        every_s: float = EVERY_S,
    ) -> None:
        """Take also what ends this process."""
        self._transport = transport
        self._path = f"{wire.API_PREFIX}/jobs/{job}/progress"
        self._on_stop = on_stop
        self._every_s = every_s
        self._lock = threading.Lock()
        self._progress = wire_jobs.JobProgress(0, 0, "")
        self._lines: list[str] = []
        self._news = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self) -> None:
        """Report once more, so that the last lines are there, and end."""
        self._ended.set()
        self._news.set()
        self._thread.join()

    def total(self, size: int, *, what: str) -> None:
        """Begin a phase, and say so in the log."""
        moment = time.strftime("%H:%M:%SZ", time.gmtime())
        with self._lock:
            self._progress = wire_jobs.JobProgress(0, max(0, size), what)
            self._lines.append(f"{moment} {what} ({size:,})\n")
        self._news.set()

    def advance(self, size: int) -> None:
        """Say that so much more is done."""
        with self._lock:
            before = self._progress
            done = max(0, before.done + size)
            self._progress = wire_jobs.JobProgress(done, before.total, before.what)

    def finish(self) -> None:
        """Leave the last phase as it is: it is over."""

    def _work(self) -> None:
        is_last = False
        while not is_last:
            self._news.wait(self._every_s)
            self._news.clear()
            is_last = self._ended.is_set()
            if not self._report():
                self._on_stop()
                return
            self._ended.wait(min(LEAST_S, self._every_s))

    def _report(self) -> bool:
        """Report, and return whether to go on."""
        with self._lock:
            lines, self._lines = self._lines, []
            report = wire_jobs.JobReport(self._progress, "".join(lines))
        try:
            body = wire.encode(report)
            answer = self._transport.call("POST", self._path, body=body, repeatable=True)
            return not wire.decode(wire_jobs.JobOrders, answer).stop
        except Unavailable:
            # The lease may outlast it; if it does not, the next report hears so.
            with self._lock:
                self._lines = [*lines, *self._lines]
            return True
        except PlaitError:
            return False
