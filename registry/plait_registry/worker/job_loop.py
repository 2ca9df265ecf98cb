"""The threads that have jobs done, each by a process of its own, and look after these.

- A process that ends without a word has its job tried again, or failed.
- One that takes too long is ended, and its job fails: it would take too long again.
- One whose job was cancelled, or is another's by now, is ended.
- When this program stops, so do they, and their jobs go back to the queue as if they had not begun.
- What this program cannot do when it is killed, leases do: see `plait_registry.services.run_jobs`.

A fault is logged, and work goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from plait.errors import PlaitError
from plait_registry.domain.jobs import JobError
from plait_registry.services.run_jobs import HeldJob
from plait_registry.worker.repeating_threads import RepeatingThreads

IDLE_S = 1.0
"""How long to wait when nothing is due, which is how late a job may begin."""
PAUSE_S = 5.0
"""How long to wait after a fault."""
LOOK_S = 0.1
"""How late the end of a process may be noticed."""
ASK_EVERY_S = 3.0
"""How often the database is asked whether somebody still wants the outcome."""
PRUNE_EVERY_S = 3_600.0
STOP_S = 6.0
"""How long a stop waits for processes to end."""

_LOG = logging.getLogger("plait_registry.jobs")


class Process(Protocol):
    """The process of a job."""

    @property
    def output(self) -> str:
        """The end of what it printed."""

    def wait(self, seconds: float) -> int | None:
        """Return its exit status; None where it runs on after so long."""

    def stop(self) -> None:
        """End it."""

    def close(self) -> None:
        """Take leave of a process that has ended."""


class Claim(Protocol):
    """A job that was taken."""

    @property
    def token(self) -> str:
        """What lets its process do the job."""

    @property
    def held(self) -> HeldJob:
        """The job, without what lets anybody do it."""


Launch = Callable[[Claim], Process]


class JobSource(Protocol):
    """Where jobs come from, and what hears how they end: a database, or a registry elsewhere."""

    def claim(self) -> Claim | None:
        """Take the job whose turn it is, if there is one."""

    def is_held(self, held: HeldJob) -> bool:
        """Return False where a job has ended, is gone, or is another's by now."""

    def give_back(self, held: HeldJob) -> None:
        """Queue a job as if it had not begun, where it is still held."""

    def end_attempt(self, held: HeldJob, error: JobError, log: str = "") -> None:
        """Fail a job, or queue it again, where it is still held."""

    def prune(self) -> int:
        """Remove what nobody looks at any more, and return how many that were."""


class JobLoop:
    """Threads that have jobs done while there are some."""

    def __init__(
        self,
        jobs: JobSource,
        launch: Launch,
        *,
        seconds: float,
        idle_s: float = IDLE_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        """Take also how many seconds a job may take."""
        self._jobs = jobs
        self._launch = launch
        self._seconds = seconds
        self._idle_s = idle_s
        self._pause_s = pause_s
        self._threads = RepeatingThreads()

    def start(self, processes: int = 1) -> None:
        """Begin to have jobs done, so many at a time."""
        self._threads.start([self._clean_step, *[self._step] * processes])

    def stop(self, wait_s: float = STOP_S) -> None:
        """Begin no further job, end those under way, and wait a while for that."""
        self._threads.stop(wait_s)

    def _step(self) -> float:
        """Do one job; return how long to wait before the next one."""
        try:
            claimed = self._jobs.claim()
            if claimed is None:
                return self._idle_s
            self._do(claimed)
        except PlaitError as error:
            _LOG.warning("a job was not looked after: %s", error.message)
        except Exception:  # noqa: BLE001 - the outermost edge of the thread
            _LOG.exception("a job was not looked after")
        else:
            return 0.0
        return self._pause_s

    def _do(self, claimed: Claim) -> None:
        try:
            process = self._launch(claimed)
        except PlaitError as error:
            self._jobs.end_attempt(claimed.held, JobError(error.kind, error.message))
            raise
        try:
            self._look_after(process, claimed.held)
        finally:
            # Whatever went wrong here, no process outlives its keeper.
            process.stop()
            process.close()
            if process.output:
                _LOG.warning("job %s printed: %s", claimed.held.id, process.output)

    def _look_after(self, process: Process, held: HeldJob) -> None:
        """Return when the process has ended or is to be ended, and its job is dealt with."""
        _LOG.info("job %s begins", held.id)
        begun = asked = time.monotonic()
        while (status := process.wait(LOOK_S)) is None:
            now = time.monotonic()
            if self._threads.is_stopping:
                process.stop()
                self._jobs.give_back(held)
                _LOG.info("job %s goes back to the queue", held.id)
                return
            if now - begun > self._seconds:
                process.stop()
                self._jobs.end_attempt(held, self._too_long(), process.output)
                return
            if now - asked >= ASK_EVERY_S:
                asked = now
                if not self._is_held(held):
                    _LOG.info("job %s has ended, or is another's: its process goes", held.id)
                    return
        _LOG.info("job %s: its process ended with status %d", held.id, status)
        # Does nothing where the process has said how the job stands.
        self._jobs.end_attempt(held, _ended_without_a_word(status), process.output)

    def _is_held(self, held: HeldJob) -> bool:
        try:
            return self._jobs.is_held(held)
        except PlaitError as error:
            # A database that is away now is asked again.
            _LOG.warning("job %s was not looked up: %s", held.id, error.message)
            return True

    def _too_long(self) -> JobError:
        return JobError(
            "job-failed",
            f"The job took over {self._seconds:g} s, which is the limit (PLAIT_JOB_SECONDS): "
            "ask for less at once, as for fewer or smaller adapters, or ask whoever has jobs done "
            "for more time.",
        )

    def _clean_step(self) -> float:
        try:
            removed = self._jobs.prune()
        except PlaitError as error:
            _LOG.warning("old jobs were not removed: %s", error.message)
            return self._pause_s
        if removed:
            _LOG.info("removed %d old jobs", removed)
        return PRUNE_EVERY_S


def _ended_without_a_word(status: int) -> JobError:
    how = f"with status {status}" if status >= 0 else f"by signal {-status}"
    return JobError(
        "internal",
        f"The job's process ended {how} without saying why. If it needs more memory than it may "
        "have, see PLAIT_JOB_MEMORY_MB.",
    )
