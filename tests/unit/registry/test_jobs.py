"""How a job stands after each thing that can happen to it."""

import pytest

from database_suite.job_rows import LATER, MUCH_LATER, job_row, lease_of
from database_suite.rows import NOW, digest
from plait.errors import InvalidInput
from plait.model.ids import CommitId, ManifestId
from plait_registry.domain.access import Scope
from plait_registry.domain.jobs import (
    LARGEST_LOG,
    LONGEST_TEXT,
    MOST_ATTEMPTS,
    JobError,
    JobProgress,
    JobResult,
    JobState,
    extend_log,
    parse_page_cursor,
    write_page_cursor,
)
from plait_registry.domain.records import RepositoryId

JOB = job_row("a", RepositoryId(1))
RUNNING = JOB.begun(lease_of("mine"), NOW)
RESULT = JobResult(CommitId(digest("commit")), ManifestId(digest("manifest")))
PASSING = JobError("unavailable", "The store is away.")
FINAL = JobError("invalid-recipe", "The recipe is wrong.")


def test_job_waits_until_it_is_due_and_then_is_leased() -> None:
    waiting = job_row("a", RepositoryId(1), due_at=LATER)
    assert [waiting.is_due(now) for now in (NOW, LATER, MUCH_LATER)] == [False, True, True]
    assert (RUNNING.state, RUNNING.attempts, RUNNING.started_at) == (JobState.RUNNING, 1, NOW)
    assert [RUNNING.is_due(now) for now in (NOW, LATER, MUCH_LATER)] == [False, True, True]
    assert RUNNING.is_held_by(lease_of("mine").digest)
    assert not RUNNING.is_held_by(lease_of("other").digest)


def test_report_makes_the_lease_last_longer() -> None:
    told = RUNNING.reported(JobProgress(3, 7, "Composing"), "begun\n", MUCH_LATER)
    assert told.lease == lease_of("mine", MUCH_LATER)
    assert told.progress == JobProgress(3, 7, "Composing")
    assert told.log == "begun\n"


def test_job_that_is_done_has_an_outcome_and_no_error() -> None:
    again = RUNNING.tried(PASSING, NOW, NOW).begun(lease_of("other"), NOW)
    done = again.done(RESULT, LATER)
    assert (done.state, done.result, done.error, done.ended_at) == (
        JobState.DONE,
        RESULT,
        None,
        LATER,
    )
    assert not done.is_due(MUCH_LATER)
    assert not done.is_held_by(lease_of("other").digest)


def test_what_may_pass_is_tried_again_until_the_attempts_are_used_up() -> None:
    job = JOB
    for attempt in range(1, MOST_ATTEMPTS + 1):
        job = job.begun(lease_of(str(attempt)), NOW).tried(PASSING, NOW, LATER, f"try {attempt}")
        assert job.attempts == attempt
        assert job.error == PASSING
    assert (job.state, job.ended_at) == (JobState.FAILED, NOW)
    assert job.log == "try 1\ntry 2\ntry 3\n"


def test_job_between_two_attempts_waits_without_a_lease() -> None:
    waiting = RUNNING.tried(PASSING, NOW, LATER)
    assert (waiting.state, waiting.due_at, waiting.lease) == (JobState.QUEUED, LATER, None)
    assert waiting.begun(lease_of("other"), LATER).started_at == NOW


def test_what_is_wrong_with_the_input_fails_at_once() -> None:
    failed = RUNNING.tried(FINAL, LATER, MUCH_LATER)
    assert (failed.state, failed.error, failed.attempts) == (JobState.FAILED, FINAL, 1)


@pytest.mark.parametrize(
    ("kind", "passes"),
    [
        ("unavailable", True),
        ("disk-full", True),
        ("internal", True),
        ("a-kind-of-the-future", True),
        ("ref-update-conflict", True),
        ("job-failed", False),
        ("token-revoked", False),
        ("repository-not-found", False),
        ("delta-missing", False),
        ("quota-exceeded", False),
    ],
)
def test_only_what_is_nobodys_fault_may_pass(kind: str, passes: bool) -> None:  # noqa: FBT001
    assert JobError(kind, "").may_pass is passes


def test_job_that_is_given_back_has_not_begun() -> None:
    back = RUNNING.given_back(LATER)
    assert (back.state, back.attempts, back.due_at, back.lease) == (
        JobState.QUEUED,
        0,
        LATER,
        None,
    )


def test_cancelled_job_keeps_its_lease_so_that_its_process_can_be_told() -> None:
    cancelled = RUNNING.cancelled(LATER)
    assert (cancelled.state, cancelled.ended_at) == (JobState.CANCELLED, LATER)
    assert cancelled.lease == RUNNING.lease


def test_job_may_read_its_inputs_and_write_its_target_only() -> None:
    assert [str(scope) for scope in JOB.scopes] == [
        "team/cpp:read",
        "lab/prose:read",
        "team/sql:write",
    ]


def test_target_that_is_an_input_too_is_written() -> None:
    job = job_row("a", RepositoryId(1), inputs=(JOB.target,))
    assert job.scopes == (Scope.parse("team/sql:write"),)


def test_log_keeps_its_last_lines_whole() -> None:
    log = ""
    for number in range(5_000):
        log = extend_log(log, f"line {number}")
    lines = log.splitlines()
    assert len(log) <= LARGEST_LOG
    assert len(log) > LARGEST_LOG - 20
    assert lines[-1] == "line 4999"
    first = int(lines[0].removeprefix("line "))
    assert lines == [f"line {number}" for number in range(first, 5_000)]


def test_line_longer_than_a_log_is_cut() -> None:
    log = extend_log("before\n", "x" * 3 * LARGEST_LOG)
    assert 0 < len(log) <= LARGEST_LOG
    assert extend_log(log, "") == log


def test_texts_of_processes_cannot_harm_databases_or_terminals() -> None:
    hostile = "a\x00b\x1b[31mc\ud800d\n"
    job = RUNNING.reported(JobProgress(0, 0, hostile), hostile, LATER)
    assert job.log == "a?b?[31mc?d\n"
    assert job.progress.what == "a?b?[31mc?d\n"
    failed = job.failed(JobError("internal", hostile * 1_000), LATER)
    assert failed.error is not None
    assert failed.error.message.startswith("a?b?[31mc?d\n")
    assert len(failed.error.message) == LONGEST_TEXT


def test_cursor_of_a_page_is_its_last_jobs_number() -> None:
    job = job_row("a", RepositoryId(1), number=255)
    assert write_page_cursor(job) == "jff"
    assert parse_page_cursor("jff") == 255


@pytest.mark.parametrize("text", ["", "j", "ff", "e1f", "jxyz", "j" + "f" * 16, "j-1"])
def test_nonsense_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_page_cursor(text)
