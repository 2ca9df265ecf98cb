"""What the process of a job tells the registry, and when it ends itself."""

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from plait.errors import Conflict, PlaitError, Unauthenticated, Unavailable
from plait.transport import Transport
from plait_registry.worker import job_reporter
from plait_registry.worker.job_reporter import JobReporter

LIMIT = 20.0


class FakeTransport:
    """Remembers reports, and answers as told."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.answers: list[dict[str, bool] | PlaitError] = []

    def call(self, method: str, path: str, *, body: Any, repeatable: bool) -> Any:
        assert (method, path, repeatable) == ("POST", "/api/v1/jobs/job1/progress", True)
        self.reports.append(body)
        answer = self.answers.pop(0) if self.answers else {"stop": False}
        if isinstance(answer, PlaitError):
            raise answer
        return answer


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    monkeypatch.setattr(job_reporter, "LEAST_S", 0.0)
    return FakeTransport()


@pytest.fixture
def stopped() -> threading.Event:
    return threading.Event()


def make(transport: FakeTransport, stopped: threading.Event, every_s: float) -> JobReporter:
    return JobReporter(cast("Transport", transport), "job1", on_stop=stopped.set, every_s=every_s)


def test_reports_come_again_and_again_whatever_the_job_does(
    transport: FakeTransport, stopped: threading.Event
) -> None:
    reporter = make(transport, stopped, 0.01)
    reporter.start()
    wait_until(lambda: len(transport.reports) > 5)
    reporter.stop()
    assert not stopped.is_set()
    done = len(transport.reports)
    time.sleep(0.05)
    assert len(transport.reports) == done


def test_phase_is_reported_at_once_and_steps_with_the_next_report(
    transport: FakeTransport, stopped: threading.Event
) -> None:
    reporter = make(transport, stopped, LIMIT)
    reporter.start()
    reporter.total(7, what="Composing")
    wait_until(lambda: len(transport.reports) == 1)
    assert transport.reports[0]["progress"] == {"done": 0, "total": 7, "what": "Composing"}
    assert transport.reports[0]["log"].endswith("Composing (7)\n")
    for _ in range(3):
        reporter.advance(2)
    reporter.advance(-1)
    reporter.finish()
    reporter.stop()
    last = transport.reports[-1]
    assert (last["progress"]["done"], last["log"]) == (5, "")


def test_lines_that_could_not_be_reported_come_with_the_next_report(
    transport: FakeTransport, stopped: threading.Event
) -> None:
    transport.answers = [Unavailable("unavailable", "The registry is away.")]
    reporter = make(transport, stopped, 0.01)
    reporter.total(1, what="Downloading")
    reporter.start()
    wait_until(lambda: len(transport.reports) > 2)
    reporter.stop()
    logs = [report["log"] for report in transport.reports]
    assert logs[0] == logs[1] != ""
    assert set(logs[2:]) == {""}
    assert not stopped.is_set()


@pytest.mark.parametrize(
    "answer",
    [
        {"stop": True},
        Conflict("job-lease-lost", "It is another's."),
        Unauthenticated("unauthenticated", "The lease ran out."),
    ],
    ids=str,
)
def test_process_ends_when_nobody_wants_the_outcome(
    transport: FakeTransport, stopped: threading.Event, answer: Any
) -> None:
    transport.answers = [{"stop": False}, answer]
    reporter = make(transport, stopped, 0.01)
    reporter.start()
    assert stopped.wait(LIMIT)
    assert len(transport.reports) == 2
    reporter.stop()
