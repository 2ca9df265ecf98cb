"""Finding a job for a caller, in the transaction that goes on to use it.

- Who may read a repository sees its jobs: who asked, where each stands, and what came of it.
- What is inside, as the recipe, the message, the log and the words of an error, names inputs. It is
  for who asked, by a token that reaches them, and for who may read all of the inputs.
- A job's own process reports by the job's token, and is shown this job and no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from plait.errors import NotFound, PermissionDenied
from plait_registry.domain.access import Access, Caller, Right, Scope, verify_right
from plait_registry.domain.jobs import JobId, JobRow, lost_lease, missing_job
from plait_registry.domain.ports import Records
from plait_registry.services.access import find_repository


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as a caller may see it."""

    job: JobRow
    payload: bytes | None
    """What is inside; None where it may not be seen."""


def find_job(records: Records, caller: Caller, job: JobId) -> JobRow:
    """Return a job that the caller may see.

    Raises:
        NotFound: `job-not-found`.
    """
    found = records.jobs.get(job)
    if caller.job is not None:
        if not _is_of(caller, found):
            raise missing_job(job)
        return found
    if right_to_job(records, caller, found) < Right.READ:
        raise missing_job(job)
    return found


def find_own_job(records: Records, caller: Caller, job: JobId) -> JobRow:
    """Return the job whose process the caller is.

    Raises:
        NotFound: `job-not-found`.
        PermissionDenied: the caller is no job's process.
        Conflict: `job-lease-lost`.
    """
    if caller.job is None:
        find_job(records, caller, job)
        raise PermissionDenied(
            "permission-denied",
            "Only the process that does a job, by the token that it was given, reports about it.",
        )
    found = records.jobs.find_by_digest(caller.job)
    if found is None:
        raise lost_lease(job)
    if found.id != job:
        raise missing_job(job)
    return found


def right_to_job(records: Records, caller: Caller, job: JobRow) -> Right:
    """Return what a caller may do in the repository of a job."""
    repository = records.repositories.get(job.target)
    return caller.right_to(repository.name, private=repository.private)


def verify_may_end(records: Records, caller: Caller, job: JobRow) -> None:
    """Check that a caller may cancel a job: the own, or as a maintainer anybody's.

    Raises:
        PermissionDenied: `permission-denied`.
    """
    need = Right.WRITE if is_requester(caller, job) else Right.MAINTAIN
    have = right_to_job(records, caller, job)
    verify_right(caller, have, need, f"{job.target}, to cancel a job there")


def is_requester(caller: Caller, job: JobRow) -> bool:
    """Tell whether a caller is the user who asked for a job."""
    return caller.user is not None and caller.user == job.requester.user


def look_at(records: Records, caller: Caller, job: JobRow) -> JobView:
    """Return a job that the caller may see, with what is inside if they may see that, too."""
    asked = is_requester(caller, job) and _reaches_inputs(caller, job)
    if not (asked or _is_of(caller, job)):
        try:
            for name in job.inputs:
                find_repository(records, caller, name, Right.READ)
        except NotFound:
            return JobView(job, None)
    return JobView(job, records.jobs.load_payload(job.id))


def _reaches_inputs(caller: Caller, job: JobRow) -> bool:
    """Tell whether the caller's token, which may be one of few scopes, reaches all inputs."""
    return all(caller.narrowed([Scope(name.key, Access.READ)]) for name in job.inputs)


def _is_of(caller: Caller, job: JobRow) -> bool:
    return caller.job is not None and job.lease is not None and job.lease.digest == caller.job
