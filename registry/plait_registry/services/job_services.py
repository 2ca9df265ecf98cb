"""All that concerns jobs, put together."""

from __future__ import annotations

from dataclasses import dataclass

from plait_registry.domain.ports import Clock, Database
from plait_registry.services.cancel_job import CancelJob
from plait_registry.services.read_jobs import GetJob, ListJobs
from plait_registry.services.report_job import CompleteJob, FailJob, ReportProgress
from plait_registry.services.run_jobs import (
    ClaimJob,
    EndAttempt,
    GiveBackJob,
    IsHeld,
    PruneJobs,
)
from plait_registry.services.submit_composition import SubmitComposition


@dataclass(frozen=True, slots=True)
class JobServices:
    """The services of jobs, ready to be called."""

    submit_composition: SubmitComposition
    list: ListJobs
    get: GetJob
    cancel: CancelJob
    report: ReportProgress
    complete: CompleteJob
    fail: FailJob
    claim: ClaimJob
    is_held: IsHeld
    give_back: GiveBackJob
    end_attempt: EndAttempt
    prune: PruneJobs


def build_job_services(database: Database, clock: Clock, *, keep_days: int) -> JobServices:
    """Return the services over a database."""
    return JobServices(
        submit_composition=SubmitComposition(database, clock),
        list=ListJobs(database),
        get=GetJob(database),
        cancel=CancelJob(database, clock),
        report=ReportProgress(database, clock),
        complete=CompleteJob(database, clock),
        fail=FailJob(database, clock),
        claim=ClaimJob(database, clock),
        is_held=IsHeld(database),
        give_back=GiveBackJob(database, clock),
        end_attempt=EndAttempt(database, clock),
        prune=PruneJobs(database, clock, keep_days),
    )
