"""What the process of a job says at its end, whatever came of what it did."""

from pathlib import Path
from typing import Any, cast

import pytest

from plait import wire_jobs
from plait.cache import Cache
from plait.errors import InvalidInput, PlaitError, Unauthenticated
from plait.progress import Progress
from plait.transport import Transport
from plait_registry.worker.run_job import run
from plait_registry.worker.work import Work

RESULT = wire_jobs.JobResult("c" * 64, "d" * 64)
JOB = wire_jobs.Job(
    id="job1",
    kind="composition",
    repository="team/sql",
    branch="blend",
    requester="will",
    state="running",
    attempts=1,
    progress=wire_jobs.JobProgress(0, 0, ""),
    result=None,
    error=None,
    created_at="2026-11-24T06:07:00Z",
    started_at="2026-11-24T06:07:01Z",
    ended_at=None,
)


class FakeTransport:
    """Remembers what it is told at the end, and may refuse it."""

    def __init__(self, refusal: PlaitError | None = None) -> None:
        self.told: list[tuple[str, Any]] = []
        self.reports: list[Any] = []
        self._refusal = refusal

    def call(self, method: str, path: str, *, body: Any, repeatable: bool) -> Any:
        assert (method, repeatable) == ("POST", True)
        if path == "/api/v1/jobs/job1/progress":
            self.reports.append(body)
            return {"stop": False}
        if self._refusal is not None:
            raise self._refusal
        self.told.append((path, body))
        return {}


def work_with(transport: FakeTransport, folder: Path) -> Work:
    details = wire_jobs.JobDetails(JOB, recipe={}, message=None, author=None, log="")
    return Work(cast("Transport", transport), Cache(folder), details, threads=1)


def test_outcome_is_told_after_the_last_report(tmp_path: Path) -> None:
    transport = FakeTransport()

    def execute(work: Work, progress: Progress) -> wire_jobs.JobResult:
        assert work.details.job == JOB
        progress.total(3, what="Composing")
        progress.advance(3)
        return RESULT

    run(work_with(transport, tmp_path), execute)
    assert transport.told == [
        ("/api/v1/jobs/job1/complete", {"commit": "c" * 64, "manifest": "d" * 64, "verdict": None})
    ]
    assert transport.reports[-1]["progress"] == {"done": 3, "total": 3, "what": "Composing"}


@pytest.mark.parametrize(
    ("failure", "kind", "said"),
    [
        (InvalidInput("delta-missing", "team/sql has none."), "delta-missing", "team/sql has none"),
        (MemoryError(), "job-failed", "PLAIT_JOB_MEMORY_MB"),
        (ZeroDivisionError("secret path"), "internal", "ZeroDivisionError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failure_is_told_by_its_kind(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException,
    kind: str,
    said: str,
) -> None:
    transport = FakeTransport()

    def execute(work: Work, progress: Progress) -> wire_jobs.JobResult:
        raise failure

    run(work_with(transport, tmp_path), execute)
    ((path, body),) = transport.told
    assert path == "/api/v1/jobs/job1/fail"
    assert body["kind"] == kind
    assert said in body["message"]
    # Where it happened is for the log of whoever started the process.
    assert "secret path" not in body["message"]
    assert ("secret path" in capsys.readouterr().err) == (kind == "internal")


def test_registry_that_cannot_be_told_is_an_error(tmp_path: Path) -> None:
    transport = FakeTransport(Unauthenticated("unauthenticated", "The lease ran out."))
    with pytest.raises(Unauthenticated):
        run(work_with(transport, tmp_path), lambda _work, _progress: RESULT)
