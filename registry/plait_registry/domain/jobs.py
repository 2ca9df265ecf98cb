"""Jobs: work that the registry has done by a process of its own, and the table that remembers it.

- A job is queued, then it runs, then it has ended: done, failed or cancelled. What has ended stays
  as it is.
- A job that runs is leased to one process. Its lease is a token, of which the row keeps the sha256;
  each report makes it last longer. A lease that ran out means that the process died: another one
  takes the job over by a token of its own, and the old one opens nothing any more.
- A job is attempted `MOST_ATTEMPTS` times, where an attempt failed by what may pass. What is wrong
  with the input fails at once, and a registry that stops uses up no attempt.
- A job acts for who asked for it: with their rights as they are now, narrowed to reading its inputs
  and writing its target.
- Whoever does jobs says which it takes: some kinds, and of validations those of bases that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NewType, Protocol

from plait.errors import CLASS_OF_KIND, Conflict, Internal, InvalidInput, NotFound, Unavailable
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId
from plait.model.refs import RefName
from plait_registry.domain.access import Access, Scope
from plait_registry.domain.accounts import TOKEN_PREFIX, UserId
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.webhooks import Backoff

JobId = NewType("JobId", str)

JOB_TOKEN_PREFIX = f"{TOKEN_PREFIX}job_"
"""Begins a job's token, so that people and leak scanners see what it is."""
MOST_ATTEMPTS = 3
BACKOFF = Backoff(attempts=MOST_ATTEMPTS, first_pause_s=10.0, factor=6.0)
"""About 10 s, then a minute: a store that restarts is back by then."""
LARGEST_LOG = 16_000
"""Characters of a job's log that are kept: the last ones."""
LONGEST_TEXT = 2_000
"""Characters of an error's message, and of what is said of progress."""
LARGEST_COUNT = 2**53 - 1
"""Of what is done: more is no integer in JSON."""


class JobKind(StrEnum):
    """What is to be done."""

    COMPOSITION = "composition"  # adapters composed by a recipe, pushed to a branch
    VALIDATION = "validation"  # a version merged into its base, and what came out judged


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # waits for a process, for the first time or again
    RUNNING = "running"  # leased to a process, which may have died
    DONE = "done"  # its outcome is on its branch
    FAILED = "failed"  # ended without one, and why is known
    CANCELLED = "cancelled"  # somebody did not want it any more

    @property
    def is_open(self) -> bool:
        """Whether something is still to come."""
        return self in (JobState.QUEUED, JobState.RUNNING)


OPEN_STATES = tuple(state for state in JobState if state.is_open)


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asked for a job, and by what."""

    name: str
    user: UserId | None
    """None for the data folder's own token."""
    token: str | None
    """The id of the token; its scopes, its end and its revocation count for the job, too."""


@dataclass(frozen=True, slots=True)
class JobOffer:
    """Which jobs somebody takes on."""

    kinds: frozenset[JobKind] = frozenset(JobKind)
    bases: frozenset[str] | None = None
    """Fingerprints of the bases at hand; None: all that a job could name."""

    def takes(self, job: JobRow) -> bool:
        """Tell whether a job is one of those."""
        has_base = job.base is None or self.bases is None or job.base in self.bases
        return job.kind in self.kinds and has_base


ANY_JOB = JobOffer()


@dataclass(frozen=True, slots=True)
class JobLease:
    """The right to do a job, for a while."""

    digest: str
    """sha256 of the job's token, in hexadecimal."""
    until: str


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is."""

    done: int = 0
    total: int = 0
    """0: nobody knows yet."""
    what: str = ""
    """What is being done, for people."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of a job."""

    commit: CommitId
    """What was made, or what was looked at."""
    manifest: ManifestId
    verdict: str | None = None
    """Of a validation."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed."""

    kind: str
    """As of `plait.errors`."""
    message: str

    @property
    def may_pass(self) -> bool:
        """Whether another attempt may succeed: nothing is wrong with what was asked for."""
        if self.kind == "ref-update-conflict":  # the branch moved meanwhile
            return True
        return CLASS_OF_KIND.get(self.kind, Internal) in (Unavailable, Internal)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job; the methods return how it stands after something happened."""

    id: JobId
    kind: JobKind
    repository: RepositoryId
    target: RepositoryName
    """The name of `repository`."""
    requester: Requester
    inputs: tuple[RepositoryName, ...]
    """What it reads."""
    ref: RefName | None
    """The branch that gets the outcome; None where nothing is pushed."""
    created_at: str
    due_at: str
    """Not to be begun before."""
    state: JobState = JobState.QUEUED
    attempts: int = 0
    """Begun so far, without those that a stop of the registry ended."""
    lease: JobLease | None = None
    """Of the last process; one that has not run out tells it how the job ended."""
    progress: JobProgress = field(default_factory=JobProgress)
    log: str = ""
    """The last lines that its processes wrote."""
    result: JobResult | None = None
    error: JobError | None = None
    """Of a failed job; of one that waits to be tried again, why it has to."""
    started_at: str | None = None
    ended_at: str | None = None
    number: int = 0
    """The order in which jobs came; given by the database."""
    subject: str | None = None
    """What it is about, where a second job about the same would say nothing new."""
    base: str | None = None
    """The fingerprint of the base that whoever does it has to have; None: nothing is needed."""

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """What the job's token lets through while it runs."""
        reads = {name.key: Scope(name.key, Access.READ) for name in self.inputs}
        return tuple({**reads, self.target.key: Scope(self.target.key, Access.WRITE)}.values())

    @property
    def is_worn_out(self) -> bool:
        """Whether no further attempt may begin."""
        return self.attempts >= MOST_ATTEMPTS

    def is_due(self, now: str) -> bool:
        """Tell whether a process may take the job."""
        if self.state is JobState.RUNNING:
            return self.lease is None or self.lease.until <= now
        return self.state is JobState.QUEUED and self.due_at <= now

    def is_held_by(self, digest: str) -> bool:
        """Tell whether it runs by that lease."""
        is_running = self.state is JobState.RUNNING
        return is_running and self.lease is not None and self.lease.digest == digest

    def begun(self, lease: JobLease, now: str) -> JobRow:
        """Return the job, taken by a process."""
        return replace(
            self,
            state=JobState.RUNNING,
            attempts=self.attempts + 1,
            lease=lease,
            progress=JobProgress(),
            started_at=self.started_at or now,
        )

    def reported(self, progress: JobProgress, log: str, until: str) -> JobRow:
        """Return the job, after its process told how far it is."""
        lease = None if self.lease is None else replace(self.lease, until=until)
        said = replace(progress, what=clean_text(progress.what, LONGEST_TEXT))
        return replace(self, lease=lease, progress=said, log=extend_log(self.log, log))

    def done(self, result: JobResult, now: str) -> JobRow:
        """Return the job, well ended."""
        return replace(self, state=JobState.DONE, result=result, error=None, ended_at=now)

    def failed(self, error: JobError, now: str, log: str = "") -> JobRow:
        """Return the job, ended without an outcome."""
        said = replace(error, message=clean_text(error.message, LONGEST_TEXT))
        return replace(
            self,
            state=JobState.FAILED,
            error=said,
            log=extend_log(self.log, log),
            ended_at=now,
        )

    def tried(self, error: JobError, now: str, due_at: str, log: str = "") -> JobRow:
        """Return the job after an attempt failed: to be tried again at `due_at`, or failed."""
        if self.is_worn_out or not error.may_pass:
            return self.failed(error, now, log)
        said = replace(error, message=clean_text(error.message, LONGEST_TEXT))
        return replace(
            self,
            state=JobState.QUEUED,
            lease=None,
            due_at=due_at,
            error=said,
            log=extend_log(self.log, log),
        )

    def given_back(self, now: str) -> JobRow:
        """Return the job of a process that was told to stop, as if it had not begun."""
        return replace(
            self, state=JobState.QUEUED, attempts=self.attempts - 1, lease=None, due_at=now
        )

    def cancelled(self, now: str) -> JobRow:
        """Return the job, not wanted any more."""
        return replace(self, state=JobState.CANCELLED, ended_at=now)


class JobTable(Protocol):
    """Jobs by id."""

    def insert(self, job: JobRow, payload: bytes) -> JobRow:
        """Add a job, and return it with its number.

        The payload is canonical JSON; which one depends on the kind.
        """

    def get(self, job: JobId) -> JobRow:
        """Return a job.

        Raises:
            NotFound: `job-not-found`.
        """

    def load_payload(self, job: JobId) -> bytes:
        """Return what is to be done, apart from its row since it may be large.

        Raises:
            NotFound: `job-not-found`.
        """

    def find_by_digest(self, digest: str) -> JobRow | None:
        """Return the job whose last lease has that digest."""

    def search(
        self, repository: RepositoryId, *, before: int | None = None, limit: int = 50
    ) -> Sequence[JobRow]:
        """Return a repository's jobs, newest first; only those before a number, if it is given."""

    def find_latest(self, repository: RepositoryId, subject: str) -> JobRow | None:
        """Return the newest job of a repository that is about something."""

    def find_due(self, now: str, offer: JobOffer = ANY_JOB) -> JobId | None:
        """Return the job whose turn it is, of those that the offer takes.

        Whoever has fewer jobs running comes first; then the one that is longest due. With
        `postpone`, nobody keeps the others waiting by asking for many.
        """

    def postpone(self, user: UserId | None, now: str) -> None:
        """Let all that a user has due wait as if it had come now, behind what others asked for."""

    def update(self, job: JobRow) -> None:
        """Write what changes while a job lives; the caller read it in this transaction."""

    def prune(self, before: str) -> int:
        """Remove the jobs that ended before a time; return how many."""


def missing_job(job: str) -> NotFound:
    """Return the error that a job is not there; also for one the caller may not see."""
    return NotFound(
        "job-not-found",
        f"There is no job {job!r:.80} here, it is no longer kept, or you may not see it: `plait "
        "job list NS/NAME` shows those of a repository.",
        job=job,
    )


def ended_job(job: JobRow) -> Conflict:
    """Return the error that nothing more can happen to a job."""
    return Conflict(
        "job-ended",
        f"The job {job.id} is {job.state} since {job.ended_at}: nothing changes that.",
        job=job.id,
        state=job.state.value,
    )


def lost_lease(job: str) -> Conflict:
    """Return the error that another process does a job now."""
    return Conflict(
        "job-lease-lost",
        f"The job {job!r:.80} is another process's by now, since this one did not report in time: "
        "what it did is of no use.",
        job=job,
    )


def clean_text(text: str, longest: int) -> str:
    """Return the beginning of a text, with `?` for what databases and terminals trip over."""
    kept = (c if c.isprintable() or c in "\n\t" else "?" for c in text[:longest])
    return "".join(kept)


def extend_log(log: str, more: str) -> str:
    """Return a log with more at its end, cut at its begin where it gets too long."""
    if not more:
        return log
    lines = f"{log}{clean_text(more, LARGEST_LOG)}".rstrip("\n") + "\n"
    if len(lines) <= LARGEST_LOG:
        return lines
    tail = lines[-LARGEST_LOG:]
    # From the begin of a line, where there is one.
    return tail[tail.find("\n", 0, -1) + 1 :]


def write_page_cursor(job: JobRow) -> str:
    """Return the place after a job in a list, newest first."""
    return f"j{job.number:x}"


def parse_page_cursor(text: str) -> int:
    """Return the number before which to go on.

    Raises:
        InvalidInput: `invalid-input`, no list ever answered with that.
    """
    digits = text[1:]
    if text[:1] != "j" or not 0 < len(digits) < 16 or not set(digits) <= set("0123456789abcdef"):
        raise InvalidInput(
            "invalid-input",
            f"{text!r:.80} is no cursor: send the `next` of the page before, or nothing.",
        )
    return int(digits, 16)


def write_result(result: JobResult | None) -> Mapping[str, Any] | None:
    """Return the JSON value of a result."""
    if result is None:
        return None
    verdict = {} if result.verdict is None else {"verdict": result.verdict}
    return {"commit": result.commit, "manifest": result.manifest, **verdict}


def write_error(error: JobError | None) -> Mapping[str, Any] | None:
    """Return the JSON value of an error."""
    return None if error is None else {"kind": error.kind, "message": error.message}
