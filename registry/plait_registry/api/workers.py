"""Several processes that answer on one socket, and the parent that looks after them.

    (1) the parent binds the socket, and makes one worker as a copy of itself
    (2) when that one answers, the others follow: what cannot start says so once
    (3) when all answer, the parent says so
    (4) a worker that dies is replaced, the sooner the longer it lived
    (5) a signal to stop goes on to all workers; who has not ended in time is killed

- The kernel hands each connection to one of the workers; the parent never answers itself.
- A worker whose parent dies stops as if it had got a signal.
- The parent imports little and has one thread, so that a copy of it is sound.

uvicorn has such a parent too. It starts workers from pickled settings, restarts without a pause
what dies at once, and does not tell when all of them answer (docs/decisions/0061).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LONG_LIFE_SECONDS = 60.0
"""A worker that lived so long is replaced at once: its death says nothing about the next one."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
_MARK_SIZE = 16

_LOG = logging.getLogger("plait_registry.workers")


@dataclass(frozen=True, slots=True)
class Channels:
    """What connects the parent to all of its workers; each end is a file descriptor."""

    wake: tuple[int, int]
    """Signals that came to the parent."""
    ready: tuple[int, int]
    """Workers write their process's id when they answer."""
    life: tuple[int, int]
    """Nobody writes; its end is the parent's end."""

    @classmethod
    @contextmanager
    def opened(cls) -> Generator[Channels, None, None]:
        """Make them, for the parent."""
        channels = cls(os.pipe(), os.pipe(), os.pipe())
        os.set_blocking(channels.wake[0], False)
        os.set_blocking(channels.wake[1], False)
        os.set_blocking(channels.ready[0], False)
        try:
            yield channels
        finally:
            for descriptor in (*channels.wake, *channels.ready, *channels.life):
                os.close(descriptor)

    def become_worker(self) -> None:
        """Turn a fresh copy of the parent into a worker: nothing of the parent's own is left."""
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for descriptor in (*self.wake, self.ready[0], self.life[1]):
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        threading.Thread(target=self._watch_parent, daemon=True).start()

    def tell_ready(self) -> None:
        """Say that this worker answers."""
        # So short a message is written whole, whoever else writes.
        os.write(self.ready[1], str(os.getpid()).encode("ascii").ljust(_MARK_SIZE))

    def _watch_parent(self) -> None:
        os.read(self.life[0], 1)
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the parent tells whoever started it."""

    on_ready: Callable[[], None]
    """All workers answer, for the first time."""
    on_death: Callable[[int], None]
    """The worker with this process id is gone."""
    on_stop: Callable[[], None]
    """A signal to stop came."""


@dataclass(slots=True)
class _Worker:
    started_at: float
    is_ready: bool = False


@dataclass(slots=True)
class Supervisor:
    """The parent."""

    count: int
    start: Callable[[Channels], int]
    """Makes a worker, as a copy of this process, and returns its process id."""
    callbacks: Callbacks
    stop_seconds: float
    """After a signal, workers have this long to end."""
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _due: list[float] = field(default_factory=list)
    """When the next workers are to start, in seconds of the monotonic clock."""
    _early_deaths: int = 0
    _has_been_ready: bool = False
    _kill_at: float | None = None
    """When patience ends; None: nobody asked to stop."""
    _status: int = 0

    def run(self) -> int:
        """Keep the workers running until a signal says to stop; return the exit status.

        Where the first workers cannot start, it is theirs.
        """
        with Channels.opened() as channels, _signals_to(channels.wake[1]):
            self._due.append(time.monotonic())
            while self._workers or (self._due and self._kill_at is None):
                self._start_due(channels)
                self._wait(channels)
                self._read_ready(channels)
                self._reap()
                if self._kill_at is not None and time.monotonic() >= self._kill_at:
                    self._send(signal.SIGKILL)
        return self._status

    def _start_due(self, channels: Channels) -> None:
        now = time.monotonic()
        for due in [due for due in self._due if due <= now and self._kill_at is None]:
            self._due.remove(due)
            # Not before the copy has let go of the pipe in which the parent finds its signals.
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                self._workers[self.start(channels)] = _Worker(now)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _wait(self, channels: Channels) -> None:
        """Wait for a signal, a worker that answers, one that died, or the time to act."""
        times = [*self._due, *([self._kill_at] if self._kill_at is not None else [])]
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        select.select([channels.wake[0], channels.ready[0]], [], [], timeout)
        for number in _read(channels.wake[0]):
            if number in SIGNALS:
                self._stop()

    def _stop(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self.stop_seconds
            self.callbacks.on_stop()
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        for pid in self._workers:
            os.kill(pid, number)

    def _read_ready(self, channels: Channels) -> None:
        marks = _read(channels.ready[0])
        for start in range(0, len(marks), _MARK_SIZE):
            worker = self._workers.get(int(marks[start : start + _MARK_SIZE]))
            if worker is not None:
                worker.is_ready = True
        if self._has_been_ready or not all(w.is_ready for w in self._workers.values()):
            return
        missing = self.count - len(self._workers) - len(self._due)
        if missing and self._workers:
            self._due.extend([time.monotonic()] * missing)
        elif len(self._workers) == self.count:
            self._has_been_ready = True
            self.callbacks.on_ready()

    def _reap(self) -> None:
        for pid in list(self._workers):
            ended, result = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._bury(pid, os.waitstatus_to_exitcode(result))

    def _bury(self, pid: int, status: int) -> None:
        worker = self._workers.pop(pid)
        self.callbacks.on_death(pid)
        if self._kill_at is not None:
            return
        if not self._has_been_ready:
            # It said why. The others would not fare better.
            self._status = max(status, 1) if status >= 0 else 1
            self._stop()
            return
        _LOG.error("worker %d ended with status %d: starting another", pid, status)
        self._due.append(time.monotonic() + self._find_pause(worker))

    def _find_pause(self, worker: _Worker) -> float:
        if time.monotonic() - worker.started_at >= LONG_LIFE_SECONDS:
            self._early_deaths = 0
            return 0.0
        self._early_deaths += 1
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._early_deaths - 1, 16))


@contextmanager
def _signals_to(descriptor: int) -> Generator[None, None, None]:
    """Let signals, and the end of a child, wake whoever waits on the other end of a pipe."""
    watched: Sequence[signal.Signals] = (*SIGNALS, signal.SIGCHLD)
    # A handler has to be there for the descriptor to be written to.
    before = {number: signal.signal(number, _ignore) for number in watched}
    # More signals than fit say nothing new.
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: object) -> None:
    """Take a signal; that it came is in the pipe."""


def _read(descriptor: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(descriptor, 4_096)
    return b""
