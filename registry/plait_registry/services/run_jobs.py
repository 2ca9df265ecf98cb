"""What whoever runs jobs' processes asks and tells the database.

1. Find what is due, in a read transaction, which keeps nobody waiting.
2. Take it, by a new token: from here on, nobody else does it until its lease runs out.
3. A process does it, and reports by the token (`plait_registry.services.report_job`).
4. When the process ends without a word, whoever started it says how; where that one died as well,
   the lease runs out, and (1) finds the job again.

The registry's processes never compute: what a job costs in time and memory, it costs another one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from plait.errors import NotFound, PlaitError
from plait_registry.domain.jobs import (
    ANY_JOB,
    JOB_TOKEN_PREFIX,
    JobError,
    JobId,
    JobLease,
    JobOffer,
    JobRow,
    JobState,
)
from plait_registry.domain.moments import shift
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.services.authenticate import find_requester, hash_token
from plait_registry.services.end_job import write_end
from plait_registry.services.report_job import LEASE, write_attempt

DEAD = JobError(
    "internal",
    "The process that did the job died, or was not heard of for a minute. If it needs more memory "
    "or time than it may have, see PLAIT_JOB_MEMORY_MB and PLAIT_JOB_SECONDS.",
)


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that somebody may do now."""

    job: JobRow
    token: str = field(repr=False)
    """Lets its process do the job, and nothing else."""
    payload: bytes = field(repr=False, default=b"")
    """What is to be done."""

    @property
    def held(self) -> HeldJob:
        """What is left to know once the process has its token."""
        return HeldJob(self.job.id, hash_token(self.token))


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job and the lease by which it was taken."""

    id: JobId
    digest: str


class ClaimJob:
    """Takes the job whose turn it is."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, offer: JobOffer = ANY_JOB) -> ClaimedJob | None:
        """Return a job that is now the caller's to do; None where nothing is due that they take.

        Those that cannot be done any more end on the way: who asked has no rights any more, or
        every attempt died.
        """
        while True:
            now = self._clock.now()
            # (1) Find what is due.
            with self._database.read() as records:
                due = records.jobs.find_due(now, offer)
            if due is None:
                return None
            # (2) Take it.
            claimed = self._claim(due, now)
            if claimed is not None:
                return claimed

    def _claim(self, due: JobId, now: str) -> ClaimedJob | None:
        token = JOB_TOKEN_PREFIX + secrets.token_urlsafe(32)
        lease = JobLease(hash_token(token), shift(now, LEASE))

        def claim(records: Records) -> ClaimedJob | None:
            try:
                found = records.jobs.get(due)
            except NotFound:  # deleted with its repository
                return None
            if not found.is_due(now):
                return None
            if found.is_worn_out:
                write_attempt(records, found, DEAD, now)
                return None
            try:
                find_requester(records, found.requester, now)
            except PlaitError as error:
                gone = f"Who asked for the job may not any more: {error.message}"
                write_end(records, found.failed(JobError(error.kind, gone), now), now)
                return None
            begun = found.begun(lease, now)
            records.jobs.update(begun)
            # Their turn is over: with one process, nobody's jobs run while another one is chosen.
            records.jobs.postpone(found.requester.user, now)
            return ClaimedJob(begun, token, records.jobs.load_payload(due))

        return self._database.transact(claim)


class IsHeld:
    """Tells whether a job is still that of who took it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, held: HeldJob) -> bool:
        """Return False where it has ended, is gone, or is another's by now."""
        with self._database.read() as records:
            found = records.jobs.find_by_digest(held.digest)
        return found is not None and found.state is JobState.RUNNING


class GiveBackJob:
    """Returns a job to the queue, since its process is told to stop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, held: HeldJob) -> None:
        """Queue it as if it had not begun; does nothing where it is not held any more."""
        now = self._clock.now()

        def give_back(records: Records) -> None:
            found = records.jobs.find_by_digest(held.digest)
            if found is not None and found.is_held_by(held.digest):
                records.jobs.update(found.given_back(now))

        self._database.transact(give_back)


class EndAttempt:
    """Writes down that a process ended without saying how its job stands."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, held: HeldJob, error: JobError, log: str = "") -> None:
        """Fail the job or queue it again; does nothing where it is not held any more."""
        now = self._clock.now()

        def end(records: Records) -> None:
            found = records.jobs.find_by_digest(held.digest)
            if found is not None and found.is_held_by(held.digest):
                write_attempt(records, found, error, now, log)

        self._database.transact(end)


class PruneJobs:
    """Removes jobs some days after they ended."""

    def __init__(self, database: Database, clock: Clock, days: int) -> None:
        self._database = database
        self._clock = clock
        self._days = days

    def __call__(self) -> int:
        """Return how many were removed."""
        before = shift(self._clock.now(), timedelta(days=-self._days))
        return self._database.transact(lambda records: records.jobs.prune(before))
