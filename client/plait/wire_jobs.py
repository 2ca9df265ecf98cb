"""The HTTP API's shapes of jobs; see `plait.wire`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plait.wire import about


@dataclass(frozen=True, slots=True)
class JobAuthor:
    """Who a composition's commit says made it."""

    name: str = about("As people write it.")
    email: str = about("May be empty.", default="")


@dataclass(frozen=True, slots=True)
class NewComposition:
    """A wish for a composition by the registry."""

    recipe: dict[str, Any] = about("A recipe, as docs/recipes.md describes it.")
    branch: str = about("The branch that gets the outcome; made where it is absent.")
    message: str | None = about("Of the commit; null: one that names the inputs.", default=None)
    author: JobAuthor | None = about("Of the commit; null: who asks.", default=None)
    create: bool = about("Make the repository where it is absent.", default=False)


@dataclass(frozen=True, slots=True)
class NewValidation:
    """A wish for a validation."""

    revision: str = about("What to validate: a branch, a tag or a commit.")
    definition: str | None = about("By which to merge; null: `merge-fp64-v1`.", default=None)
    base: str | None = about(
        "The fingerprint of the base; null: the one that the commit names.", default=None
    )
    again: bool = about("Also where a validation of the same is done.", default=False)


@dataclass(frozen=True, slots=True)
class ValidationOrder:
    """What a validation looks at."""

    commit: str = about("The commit.")
    definition: str = about("By which it is merged into its base.")
    base: str | None = about("The base's fingerprint; null: the commit names none.")
    held: str | None = about(
        "Where the registry has the base's weights, as `team/base@COMMIT`.", default=None
    )


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is."""

    done: int = about("Of `total`, in units of what is being done.")
    total: int = about("0: nobody knows yet.")
    what: str = about("What is being done, for people; empty for who may not read all inputs.")


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of a job."""

    commit: str = about("The commit that the branch got, or that was validated.")
    manifest: str = about("Its manifest.")
    verdict: str | None = about("Of a validation: as `verified`.", default=None)


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, or why it has to be tried again."""

    kind: str = about("A stable word, as of every error.")
    message: str | None = about("A sentence; null for who may not read all inputs.")


@dataclass(frozen=True, slots=True)
class Job:
    """Work that the registry has done by a process of its own."""

    id: str = about("The job's id.")
    kind: str = about("`composition` or `validation`.")
    repository: str = about("Where the outcome goes, as `team/sql`.")
    branch: str = about("The branch that gets it; empty for a validation.")
    requester: str = about("Who asked for it.")
    state: str = about("`queued`, `running`, `done`, `failed` or `cancelled`.")
    attempts: int = about("How often it was begun.")
    progress: JobProgress = about("How far it is.")
    result: JobResult | None = about("What came of it; null unless it is done.")
    error: JobError | None = about("Why it failed; of one that is queued, why it is so again.")
    created_at: str = about("UTC.")
    started_at: str | None = about("When it was first begun.")
    ended_at: str | None = about("When it was done, failed or was cancelled.")


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job with what is inside, which is null for who neither asked nor may read all inputs."""

    job: Job = about("The job.")
    recipe: dict[str, Any] | None = about("With its inputs pinned.")
    message: str | None = about("Of the commit; null also for one that names the inputs.")
    author: JobAuthor | None = about("Of the commit.")
    log: str | None = about("The last lines that its processes wrote.")
    validation: ValidationOrder | None = about("Of a validation: what is looked at.", default=None)


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs of a repository."""

    jobs: list[Job] = about("Newest first.")
    next: str | None = about("Send this as `cursor` for the next page; null on the last.")


@dataclass(frozen=True, slots=True)
class JobReport:
    """How far a job is, as its process says."""

    progress: JobProgress = about("How far it is.")
    log: str = about("Further lines for its log.", default="")


@dataclass(frozen=True, slots=True)
class JobOrders:
    """What a job's process is to do."""

    stop: bool = about("End at once: nobody wants the outcome any more.")


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why an attempt at a job failed, as its process says."""

    kind: str = about("A stable word, as of every error.")
    message: str = about("A sentence that says what to do.")
    log: str = about("Further lines for its log.", default="")


@dataclass(frozen=True, slots=True)
class JobOffer:
    """Which jobs a worker takes."""

    kinds: list[str] = about("Their kinds: `validation`.")
    bases: list[str] | None = about(
        "Fingerprints of the bases that the worker has; null: it takes jobs of any.", default=None
    )


@dataclass(frozen=True, slots=True)
class TakenJob:
    """A job that a worker may do now."""

    job: JobDetails = about("The job.")
    token: str = about("Lets its process do the job, and nothing else.")


@dataclass(frozen=True, slots=True)
class JobTaking:
    """What came of asking for a job."""

    taken: TakenJob | None = about("Null: nothing is due that the worker takes.")
