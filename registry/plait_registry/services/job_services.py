"""All that concerns jobs, put together."""

from __future__ import annotations

from dataclasses import dataclass

from plait_registry.domain.ports import Clock, Database
from plait_registry.services.cancel_job import CancelJob
from plait_registry.services.read_jobs import GetJob, ListJobs
from plait_registry.services.report_job import (
    CompleteJob,
    FailJob,
    ReportProgress,
    ReturnJob,
)
from plait_registry.services.run_jobs import (
    ClaimJob,
    EndAttempt,
    GiveBackJob,
    IsHeld,
    PruneJobs,
)
from plait_registry.services.submit_composition import SubmitComposition
from plait_registry.services.submit_validation import SubmitValidation
from plait_registry.services.take_job import TakeJob


@dataclass(frozen=True, slots=True)
class JobServices:
    """The services of jobs, ready to be called."""

    submit_composition: SubmitComposition
    submit_validation: SubmitValidation
    list: ListJobs
    get: GetJob
    cancel: CancelJob
    report: ReportProgress
    complete: CompleteJob
    fail: FailJob
    return_job: ReturnJob
    take: TakeJob
    claim: ClaimJob
    is_held: IsHeld
    give_back: GiveBackJob
    end_attempt: EndAttempt
    prune: PruneJobs


def build_job_services(database: Database, clock: Clock, *, keep_days: int) -> JobServices:
    """Return the services over a database."""
    claim = ClaimJob(database, clock)
    return JobServices(
        submit_composition=SubmitComposition(database, clock),
        submit_validation=SubmitValidation(database, clock),
        list=ListJobs(database),
        get=GetJob(database),
        cancel=CancelJob(database, clock),
        report=ReportProgress(database, clock),
        complete=CompleteJob(database, clock),
        fail=FailJob(database, clock),
        return_job=ReturnJob(database, clock),
        take=TakeJob(claim),
        claim=claim,
        is_held=IsHeld(database),
        give_back=GiveBackJob(database, clock),
        end_attempt=EndAttempt(database, clock),
        prune=PruneJobs(database, clock, keep_days),
    )
