"""What the process of a job reports: how far it is, and how it ended.

It calls by the job's token. Each call can be repeated after an answer that was lost.
"""

from __future__ import annotations

from datetime import timedelta

from plait.errors import InvalidInput, NotFound
from plait.model.ids import abbreviate
from plait_registry.domain.access import Caller
from plait_registry.domain.jobs import (
    BACKOFF,
    JobError,
    JobId,
    JobKind,
    JobProgress,
    JobResult,
    JobRow,
    JobState,
    ended_job,
)
from plait_registry.domain.moments import shift
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.validation_wish import ValidationPayload
from plait_registry.domain.validations import read_body
from plait_registry.services.end_job import write_end
from plait_registry.services.find_job import find_own_job

LEASE = timedelta(seconds=60)
"""From one report to the end of patience. Processes report every few seconds; who is not heard of
for so long is dead, or as good as that."""


class ReportProgress:
    """Takes how far a job is, and makes its lease last longer."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, job: JobId, progress: JobProgress, log: str) -> bool:
        """Return whether to go on; False: the job has ended, so that nobody wants the outcome.

        Raises:
            Conflict: `job-lease-lost`.
        """
        until = shift(self._clock.now(), LEASE)

        def report(records: Records) -> bool:
            found = find_own_job(records, caller, job)
            if found.state is not JobState.RUNNING:
                return False
            records.jobs.update(found.reported(progress, log, until))
            return True

        return self._database.transact(report)


class CompleteJob:
    """Takes the outcome of a job."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, job: JobId, result: JobResult) -> JobRow:
        """Return the job, done.

        Raises:
            NotFound: `commit-not-found`, its repository has no such version.
            Conflict: `job-ended`, in another way; `job-lease-lost`.
        """
        now = self._clock.now()

        def complete(records: Records) -> JobRow:
            found = find_own_job(records, caller, job)
            if found.state is JobState.DONE and found.result == result:
                return found
            if not found.state.is_open:
                raise ended_job(found)
            _verify_there(records, found, result)
            _verify_validated(records, found, result)
            return write_end(records, found.done(result, now), now)

        return self._database.transact(complete)


class FailJob:
    """Takes why an attempt at a job failed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, job: JobId, error: JobError, log: str = "") -> JobRow:
        """Return the job, with more in its log: failed, or to be tried again.

        Raises:
            Conflict: `job-ended`, in another way; `job-lease-lost`.
        """
        now = self._clock.now()

        def fail(records: Records) -> JobRow:
            found = find_own_job(records, caller, job)
            if found.state is JobState.FAILED:
                return found
            if not found.state.is_open:
                raise ended_job(found)
            return write_attempt(records, found, error, now, log)

        return self._database.transact(fail)


class ReturnJob:
    """Takes a job back from a worker that is told to stop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, job: JobId) -> JobRow:
        """Return the job, queued as if it had not begun; what has ended stays as it is.

        Raises:
            Conflict: `job-lease-lost`.
        """
        now = self._clock.now()

        def give_back(records: Records) -> JobRow:
            found = find_own_job(records, caller, job)
            if found.state is not JobState.RUNNING:
                return found
            returned = found.given_back(now)
            records.jobs.update(returned)
            return returned

        return self._database.transact(give_back)


def write_attempt(
    records: Records, job: JobRow, error: JobError, now: str, log: str = ""
) -> JobRow:
    """Write a job of which an attempt failed; call it last in a transaction."""
    pause = timedelta(seconds=round(BACKOFF.pause_s(job.attempts, 0.5)))
    tried = job.tried(error, now, shift(now, pause), log)
    if not tried.state.is_open:
        return write_end(records, tried, now)
    records.jobs.update(tried)
    return tried


def _verify_there(records: Records, job: JobRow, result: JobResult) -> None:
    row = records.commits.load(job.repository, [result.commit]).get(result.commit)
    if row is None or row.manifest != result.manifest:
        raise NotFound(
            "commit-not-found",
            f"The commit {abbreviate(result.commit)} with the manifest "
            f"{abbreviate(result.manifest)} is not in {job.target}.",
        )


def _verify_validated(records: Records, job: JobRow, result: JobResult) -> None:
    """Check that the outcome is what was asked for, and what is recorded."""
    if job.kind is not JobKind.VALIDATION:
        return
    payload = ValidationPayload.from_bytes(records.jobs.load_payload(job.id))
    recorded = records.validations.find_by_job(job.repository, job.id)
    verdict = None if recorded is None else read_body(recorded).get("verdict")
    if verdict is None or (result.commit, result.verdict) != (payload.commit, verdict):
        raise InvalidInput(
            "invalid-input",
            f"The job {job.id} is a validation of {abbreviate(payload.commit)}: record what was "
            "seen of that commit, and say the verdict of it.",
        )
