"""Jobs of a registry: having compositions and validations made, and seeing how they go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from plait import wire
from plait.errors import Conflict, error_from_json
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.model.refs import DEFAULT_BRANCH, RefName
from plait.paging import read_pages
from plait.transport import Transport, repository_path
from plait.wire_jobs import (
    Job,
    JobAuthor,
    JobDetails,
    JobPage,
    NewComposition,
    NewValidation,
)

ASK_EVERY_S = 1.0
OPEN = frozenset({"queued", "running"})
"""The states in which something is still to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteComposition:
    """A composition that the registry shall make."""

    recipe: Mapping[str, Any]
    """The document."""
    repository: RepositoryName
    branch: RefName = DEFAULT_BRANCH
    message: str | None = None
    """None: one that names the inputs."""
    author: Person | None = None
    """None: whoever the registry takes the caller for."""
    create: bool = False
    """Make the repository where it is absent."""


class Jobs:
    """The jobs that the caller may see."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def compose(self, wish: RemoteComposition) -> JobDetails:
        """Ask for a composition and return its job; the inputs are pinned by then.

        Raises:
            InvalidInput: `invalid-recipe`, or it needs what the registry does not have.
            NotFound: an input, or the repository without `create`.
            Conflict: `too-many-jobs`.
        """
        author = wish.author
        body = NewComposition(
            recipe=dict(wish.recipe),
            branch=wish.branch,
            message=wish.message,
            author=None if author is None else JobAuthor(author.name, author.email),
            create=wish.create,
        )
        path = repository_path(wish.repository, "/compositions")
        answer = self._transport.call("POST", path, body=wire.encode(body))
        return wire.decode(JobDetails, answer)

    def validate(
        self,
        repository: RepositoryName,
        revision: str,
        *,
        base: str | None = None,
        again: bool = False,
    ) -> JobDetails:
        """Ask for a validation and return its job: the one that is there, unless `again`.

        `base` is the fingerprint of the base, for a commit that names none.

        Raises:
            NotFound: `revision-not-found`.
            InvalidInput: `base-mismatch`, the commit names another base.
            Conflict: `too-many-jobs`.
        """
        body = NewValidation(revision, base=base, again=again)
        path = repository_path(repository, "/validations")
        # Asked once more, the registry answers with the job that is there.
        answer = self._transport.call("POST", path, body=wire.encode(body), repeatable=not again)
        return wire.decode(JobDetails, answer)

    def list(self, repository: RepositoryName) -> Iterator[Job]:
        """Yield a repository's jobs, newest first."""

        def ask(cursor: str | None) -> JobPage:
            path = repository_path(repository, "/jobs")
            return wire.decode(JobPage, self._transport.call("GET", path, query={"cursor": cursor}))

        for page in read_pages(ask):
            yield from page.jobs

    def get(self, job: str) -> JobDetails:
        """Return one job.

        Raises:
            NotFound: `job-not-found`.
        """
        return wire.decode(JobDetails, self._transport.call("GET", _path(job)))

    def cancel(self, job: str) -> JobDetails:
        """Cancel a job that has not ended; twice is fine.

        Raises:
            Conflict: `job-ended`.
        """
        answer = self._transport.call("POST", _path(job, "/cancel"), repeatable=True)
        return wire.decode(JobDetails, answer)

    def follow(
        self,
        job: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        every_s: float = ASK_EVERY_S,
    ) -> Iterator[JobDetails]:
        """Yield a job each time it has changed, the last time when it has ended."""
        last = None
        while True:
            details = self.get(job)
            if details != last:
                yield details
            if details.job.state not in OPEN:
                return
            last = details
            sleep(every_s)


def verify_done(details: JobDetails) -> None:
    """Check that a job that has ended has an outcome.

    Raises:
        Conflict: `job-failed`, it was cancelled, or its error is not told.
        PlaitError: what it failed with.
    """
    job = details.job
    if job.state == "done":
        return
    if job.error is None or job.error.message is None:
        raise Conflict(
            "job-failed", f"The job {job.id} is {job.state}, without an outcome.", job=job.id
        )
    message = f"The job {job.id} failed: {job.error.message}"
    body = {"error": {"kind": job.error.kind, "message": message, "details": {"job": job.id}}}
    raise error_from_json(body, fallback=Conflict)


def _path(job: str, tail: str = "") -> str:
    return f"{wire.API_PREFIX}/jobs/{quote(job, safe='')}{tail}"
