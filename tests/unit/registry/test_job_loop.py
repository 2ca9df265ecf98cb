"""The threads that have jobs done: what they tell the services of each way in which one goes."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from database_suite.job_rows import job_row
from plait.errors import Unavailable
from plait_registry.domain.jobs import JobError
from plait_registry.domain.records import RepositoryId
from plait_registry.services.job_services import JobServices
from plait_registry.services.run_jobs import ClaimedJob, HeldJob
from plait_registry.worker import job_loop
from plait_registry.worker.job_loop import Claim, JobLoop, Launch

LIMIT = 20.0
CLAIMED = ClaimedJob(job_row("a", RepositoryId(1)), "plait_job_secret")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@dataclass
class FakeJobs:
    """Services with one job, which remember what they are told."""

    held: bool = True
    waiting: list[ClaimedJob] = field(default_factory=lambda: [CLAIMED])
    given_back: list[HeldJob] = field(default_factory=list)
    ended: list[tuple[HeldJob, JobError, str]] = field(default_factory=list)
    prunes: int = 0
    claims: int = 0

    def claim(self) -> ClaimedJob | None:
        self.claims += 1
        return self.waiting.pop() if self.waiting else None

    def is_held(self, held: HeldJob) -> bool:
        assert held == CLAIMED.held
        return self.held

    def give_back(self, held: HeldJob) -> None:
        self.given_back.append(held)

    def end_attempt(self, held: HeldJob, error: JobError, log: str = "") -> None:
        self.ended.append((held, error, log))

    def prune(self) -> int:
        self.prunes += 1
        return 3


class FakeProcess:
    """A process that runs until it is told to end, or is given a status."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.output = "last words"
        self.stops = 0
        self.closed = threading.Event()

    def wait(self, seconds: float) -> int | None:
        if self.status is None:
            time.sleep(0.005)
        return self.status

    def stop(self) -> None:
        self.stops += 1
        if self.status is None:
            self.status = -15

    def close(self) -> None:
        assert self.status is not None
        self.closed.set()


def make_loop(jobs: FakeJobs, launch: Launch, **options: Any) -> JobLoop:
    given = {"seconds": LIMIT, "idle_s": 0.01, "pause_s": 0.01} | options
    return JobLoop(cast("JobServices", jobs), launch, **given)


def do(jobs: FakeJobs, process: FakeProcess, **options: Any) -> JobLoop:
    """Start a loop over one job, and wait until its process is there."""
    started = threading.Event()

    def launch(claimed: Claim) -> FakeProcess:
        assert claimed == CLAIMED
        started.set()
        return process

    loop = make_loop(jobs, launch, **options)
    loop.start()
    assert started.wait(LIMIT)
    return loop


@pytest.mark.parametrize(("status", "told"), [(0, "status 0"), (1, "status 1"), (-9, "signal 9")])
def test_end_of_a_process_is_told_and_the_next_job_looked_for(status: int, told: str) -> None:
    jobs, process = FakeJobs(), FakeProcess()
    loop = do(jobs, process)
    process.status = status
    assert process.closed.wait(LIMIT)
    wait_until(lambda: jobs.claims > 2)
    loop.stop()
    ((held, error, log),) = jobs.ended
    assert (held, error.kind, log) == (CLAIMED.held, "internal", "last words")
    assert told in error.message
    assert jobs.given_back == []


def test_stop_ends_the_process_and_gives_its_job_back() -> None:
    jobs, process = FakeJobs(), FakeProcess()
    loop = do(jobs, process)
    loop.stop()
    assert process.closed.is_set()
    assert jobs.given_back == [CLAIMED.held]
    assert jobs.ended == []


def test_process_that_takes_too_long_is_ended_and_its_job_fails() -> None:
    jobs, process = FakeJobs(), FakeProcess()
    loop = do(jobs, process, seconds=0.05)
    assert process.closed.wait(LIMIT)
    loop.stop()
    ((held, error, log),) = jobs.ended
    assert (held, error.kind, log) == (CLAIMED.held, "job-failed", "last words")
    assert "0.05 s" in error.message
    assert "PLAIT_JOB_SECONDS" in error.message
    assert not error.may_pass


def test_process_whose_job_nobody_wants_is_ended_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_loop, "ASK_EVERY_S", 0.02)
    jobs, process = FakeJobs(), FakeProcess()
    loop = do(jobs, process)
    time.sleep(0.1)
    assert not process.closed.is_set()
    jobs.held = False
    assert process.closed.wait(LIMIT)
    loop.stop()
    assert process.stops > 0
    assert (jobs.ended, jobs.given_back) == ([], [])


def test_process_goes_on_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_loop, "ASK_EVERY_S", 0.02)
    jobs, process = FakeJobs(), FakeProcess()

    def fail(_held: HeldJob) -> bool:
        raise Unavailable("unavailable", "The database is away.")

    jobs.is_held = fail  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.WARNING):
        loop = do(jobs, process)
        wait_until(lambda: "The database is away." in caplog.text)
        assert not process.closed.is_set()
        loop.stop()


def test_process_that_cannot_be_started_counts_as_an_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = FakeJobs()

    def launch(_claimed: Claim) -> FakeProcess:
        raise Unavailable("unavailable", "There is no memory for a process.")

    with caplog.at_level(logging.WARNING):
        loop = make_loop(jobs, launch)
        loop.start()
        wait_until(lambda: jobs.claims > 2)
        loop.stop()
    ((held, error, _),) = jobs.ended
    assert (held, error.kind) == (CLAIMED.held, "unavailable")
    assert "no memory" in caplog.text


@pytest.mark.parametrize(
    "failure", [Unavailable("busy", "The database is busy."), ZeroDivisionError("a bug")]
)
def test_fault_is_logged_and_work_goes_on(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    jobs, process = FakeJobs(), FakeProcess()
    claim, failures = jobs.claim, [failure]

    def fail_once() -> ClaimedJob | None:
        if failures:
            raise failures.pop()
        return claim()

    jobs.claim = fail_once  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        loop = do(jobs, process)
        loop.stop()
    assert "a job was not looked after" in caplog.text


def test_several_jobs_are_done_at_once() -> None:
    jobs = FakeJobs(waiting=[CLAIMED, CLAIMED, CLAIMED])
    processes: list[FakeProcess] = []

    def launch(_claimed: Claim) -> FakeProcess:
        processes.append(FakeProcess())
        return processes[-1]

    loop = make_loop(jobs, launch)
    loop.start(processes=2)
    wait_until(lambda: len(processes) == 2)
    time.sleep(0.05)
    assert len(processes) == 2
    loop.stop()
    assert len(jobs.given_back) == 2


def test_stop_does_not_wait_for_ever_for_a_database_that_hangs() -> None:
    jobs = FakeJobs()
    may_end = threading.Event()

    def hang() -> ClaimedJob | None:
        may_end.wait(LIMIT)
        return None

    jobs.claim = hang  # type: ignore[method-assign]
    loop = make_loop(jobs, lambda _claimed: FakeProcess())
    loop.start()
    begun = time.monotonic()
    loop.stop(wait_s=0.1)
    assert time.monotonic() - begun < 5
    may_end.set()


def test_old_jobs_are_removed(caplog: pytest.LogCaptureFixture) -> None:
    jobs = FakeJobs(waiting=[])
    with caplog.at_level(logging.INFO):
        loop = make_loop(jobs, lambda _claimed: FakeProcess())
        loop.start()
        wait_until(lambda: "removed 3 old jobs" in caplog.text)
        loop.stop()
    assert jobs.prunes == 1


def test_loop_that_was_never_started_can_be_stopped() -> None:
    make_loop(FakeJobs(), lambda _claimed: FakeProcess()).stop()
