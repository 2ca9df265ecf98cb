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
class JobProgress:
    """How far a job is."""

    done: int = about("Of `total`, in units of what is being done.")
    total: int = about("0: nobody knows yet.")
    what: str = about("What is being done, for people; empty for who may not read all inputs.")


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of a job."""

    commit: str = about("The commit that the branch got.")
    manifest: str = about("Its manifest.")


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, or why it has to be tried again."""

    kind: str = about("A stable word, as of every error.")
    message: str | None = about("A sentence; null for who may not read all inputs.")


@dataclass(frozen=True, slots=True)
class Job:
    """Work that the registry has done by a process of its own."""

    id: str = about("The job's id.")
    kind: str = about("`composition`.")
    repository: str = about("Where the outcome goes, as `team/sql`.")
    branch: str = about("The branch that gets it.")
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
