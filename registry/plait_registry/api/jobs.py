"""Routes of jobs: asking for them, looking at them, and what their processes report."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel

from plait import wire_jobs
from plait.errors import (
    CLASS_OF_KIND,
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
)
from plait.model.commit import Person
from plait.model.ids import parse_commit_id, parse_manifest_id, parse_object_id
from plait.model.recipe import Recipe
from plait.model.validation import Verdict
from plait_registry.api.errors import describe
from plait_registry.api.requests import (
    Cursor,
    Limit,
    Name,
    Namespace,
    caller_of,
    registry_of,
    repository_name,
)
from plait_registry.domain.composition_wish import CompositionPayload, parse_wish
from plait_registry.domain.jobs import (
    LARGEST_COUNT,
    JobError,
    JobId,
    JobKind,
    JobOffer,
    JobProgress,
    JobResult,
    JobRow,
    parse_page_cursor,
    write_page_cursor,
)
from plait_registry.domain.validation_wish import ValidationPayload, offer_bases
from plait_registry.domain.validation_wish import parse_wish as parse_validation
from plait_registry.services.find_job import JobView

router = APIRouter(tags=["jobs"])

Id = Annotated[str, Path(description="The job's id.")]


class JobFilters(BaseModel):
    """Which jobs to list."""

    cursor: Cursor = None
    limit: Limit = 50


@router.post(
    "/repositories/{namespace}/{name}/compositions",
    status_code=201,
    responses=describe(NotFound, PermissionDenied, AlreadyExists, Conflict),
)
def compose(
    request: Request, namespace: Namespace, name: Name, wanted: wire_jobs.NewComposition
) -> wire_jobs.JobDetails:
    """Have adapters composed by a recipe, and the outcome pushed to a branch.

    Inputs are pinned now: where their branches go until the job runs does not matter.
    """
    caller = caller_of(request)
    author = wanted.author or wire_jobs.JobAuthor(caller.name)
    wish = parse_wish(
        Recipe.from_json(wanted.recipe),
        branch=wanted.branch,
        message=wanted.message,
        author=Person(author.name, author.email),
    )
    submitted = registry_of(request).jobs.submit_composition(
        caller, repository_name(namespace, name), wish, create=wanted.create
    )
    return _show_details(submitted)


@router.post(
    "/repositories/{namespace}/{name}/validations",
    status_code=201,
    responses=describe(NotFound, PermissionDenied, Conflict),
)
def validate(
    request: Request, namespace: Namespace, name: Name, wanted: wire_jobs.NewValidation
) -> wire_jobs.JobDetails:
    """Have a commit merged into its base by a validator, and the outcome judged.

    Asked for once more, it answers with the job that is there.
    """
    wish = parse_validation(
        wanted.revision, definition=wanted.definition, base=wanted.base, again=wanted.again
    )
    submitted = registry_of(request).jobs.submit_validation(
        caller_of(request), repository_name(namespace, name), wish
    )
    return _show_details(submitted)


@router.get("/repositories/{namespace}/{name}/jobs", responses=describe(NotFound))
def list_jobs(
    request: Request,
    namespace: Namespace,
    name: Name,
    filters: Annotated[JobFilters, Query()],
) -> wire_jobs.JobPage:
    """List the jobs of a repository, newest first; errors without their words."""
    found = registry_of(request).jobs.list(
        caller_of(request),
        repository_name(namespace, name),
        before=None if filters.cursor is None else parse_page_cursor(filters.cursor),
        # One more than is shown tells whether there is another page.
        limit=filters.limit + 1,
    )
    shown = list(found[: filters.limit])
    following = write_page_cursor(shown[-1]) if len(found) > len(shown) else None
    return wire_jobs.JobPage([_show(job, is_open=False) for job in shown], following)


@router.post("/jobs/claim", responses=describe(PermissionDenied))
def claim_job(request: Request, offer: wire_jobs.JobOffer) -> wire_jobs.JobTaking:
    """Take the job whose turn it is: for workers, by a token with the scope `*:work`."""
    bases = None if offer.bases is None else offer_bases(map(parse_object_id, offer.bases))
    taken = registry_of(request).jobs.take(
        caller_of(request), JobOffer(frozenset(map(_parse_kind, offer.kinds)), bases)
    )
    if taken is None:
        return wire_jobs.JobTaking(None)
    # As the job's process sees it, which the worker hands the token to.
    view = JobView(taken.job, taken.payload)
    return wire_jobs.JobTaking(wire_jobs.TakenJob(_show_details(view), taken.token))


@router.get("/jobs/{job}", responses=describe(NotFound))
def get_job(request: Request, job: Id) -> wire_jobs.JobDetails:
    """Return one job, with what is inside of it for who may see that."""
    return _show_details(registry_of(request).jobs.get(caller_of(request), JobId(job)))


@router.post("/jobs/{job}/cancel", responses=describe(NotFound, PermissionDenied, Conflict))
def cancel_job(request: Request, job: Id) -> wire_jobs.JobDetails:
    """Cancel a job that has not ended: one's own, or as a maintainer anybody's."""
    return _show_details(registry_of(request).jobs.cancel(caller_of(request), JobId(job)))


@router.post("/jobs/{job}/progress", responses=describe(NotFound, PermissionDenied, Conflict))
def report_progress(request: Request, job: Id, report: wire_jobs.JobReport) -> wire_jobs.JobOrders:
    """Say how far a job is: for its process, which has a token for it."""
    progress = JobProgress(
        _parse_count(report.progress.done, "done"),
        _parse_count(report.progress.total, "total"),
        report.progress.what,
    )
    goes_on = registry_of(request).jobs.report(caller_of(request), JobId(job), progress, report.log)
    return wire_jobs.JobOrders(stop=not goes_on)


@router.post("/jobs/{job}/complete", responses=describe(NotFound, PermissionDenied, Conflict))
def complete_job(request: Request, job: Id, result: wire_jobs.JobResult) -> wire_jobs.Job:
    """Say that a job is done: for its process."""
    outcome = JobResult(
        parse_commit_id(result.commit),
        parse_manifest_id(result.manifest),
        None if result.verdict is None else _parse_verdict(result.verdict),
    )
    done = registry_of(request).jobs.complete(caller_of(request), JobId(job), outcome)
    return _show(done, is_open=True)


@router.post("/jobs/{job}/fail", responses=describe(NotFound, PermissionDenied, Conflict))
def fail_job(request: Request, job: Id, failure: wire_jobs.JobFailure) -> wire_jobs.Job:
    """Say that an attempt at a job failed: for its process."""
    kind = failure.kind if failure.kind in CLASS_OF_KIND else "internal"
    error = JobError(kind, failure.message)
    failed = registry_of(request).jobs.fail(caller_of(request), JobId(job), error, failure.log)
    return _show(failed, is_open=True)


@router.post("/jobs/{job}/return", responses=describe(NotFound, PermissionDenied, Conflict))
def return_job(request: Request, job: Id) -> wire_jobs.Job:
    """Give a job back that has not ended, since its worker stops: that is no attempt."""
    returned = registry_of(request).jobs.return_job(caller_of(request), JobId(job))
    return _show(returned, is_open=True)


def _parse_verdict(text: str) -> str:
    try:
        return Verdict(text).value
    except ValueError:
        raise InvalidInput(
            "invalid-input",
            f"verdict: {text!r:.80} is none of {', '.join(Verdict)}.",
            field="verdict",
        ) from None


def _parse_kind(text: str) -> JobKind:
    try:
        return JobKind(text)
    except ValueError:
        raise InvalidInput(
            "invalid-input",
            f"kinds: {text!r:.80} is none of {', '.join(JobKind)}.",
            field="kinds",
        ) from None


def _parse_count(count: int, field: str) -> int:
    if not 0 <= count <= LARGEST_COUNT:
        raise InvalidInput(
            "invalid-input", f"{field}: a whole number from 0 to {LARGEST_COUNT}.", field=field
        )
    return count


def _show_details(view: JobView) -> wire_jobs.JobDetails:
    shown = _show(view.job, is_open=view.payload is not None)
    if view.payload is None:
        return wire_jobs.JobDetails(shown, recipe=None, message=None, author=None, log=None)
    if view.job.kind is JobKind.VALIDATION:
        asked = ValidationPayload.from_bytes(view.payload)
        return wire_jobs.JobDetails(
            shown,
            recipe=None,
            message=None,
            author=None,
            log=view.job.log,
            validation=wire_jobs.ValidationOrder(
                asked.commit,
                asked.definition,
                asked.base,
                None if asked.held is None else str(asked.held),
            ),
        )
    payload = CompositionPayload.from_bytes(view.payload)
    return wire_jobs.JobDetails(
        shown,
        recipe=payload.recipe,
        message=payload.message,
        author=wire_jobs.JobAuthor(payload.author.name, payload.author.email),
        log=view.job.log,
    )


def _show(job: JobRow, *, is_open: bool) -> wire_jobs.Job:
    error, result, progress = job.error, job.result, job.progress
    return wire_jobs.Job(
        id=job.id,
        kind=job.kind.value,
        repository=str(job.target),
        branch=job.ref or "",
        requester=job.requester.name,
        state=job.state.value,
        attempts=job.attempts,
        progress=wire_jobs.JobProgress(
            progress.done, progress.total, progress.what if is_open else ""
        ),
        result=None
        if result is None
        else wire_jobs.JobResult(result.commit, result.manifest, result.verdict),
        error=None
        if error is None
        else wire_jobs.JobError(error.kind, error.message if is_open else None),
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )
