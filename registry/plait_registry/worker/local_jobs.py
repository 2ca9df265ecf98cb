"""Jobs from the database that the registry itself works on."""

from __future__ import annotations

from plait_registry.domain.jobs import JobError, JobOffer
from plait_registry.services.job_services import JobServices
from plait_registry.services.run_jobs import ClaimedJob, HeldJob


class LocalJobs:
    """A `plait_registry.worker.job_loop.JobSource` over the services."""

    def __init__(self, jobs: JobServices, offer: JobOffer) -> None:
        """Take also which jobs are taken here."""
        self._jobs = jobs
        self._offer = offer

    def claim(self) -> ClaimedJob | None:
        """Take the job whose turn it is."""
        return self._jobs.claim(self._offer)

    def is_held(self, held: HeldJob) -> bool:
        """Tell whether a job is still that of who took it."""
        return self._jobs.is_held(held)

    def give_back(self, held: HeldJob) -> None:
        """Queue a job as if it had not begun."""
        self._jobs.give_back(held)

    def end_attempt(self, held: HeldJob, error: JobError, log: str = "") -> None:
        """Write down that a process ended without saying how its job stands."""
        self._jobs.end_attempt(held, error, log)

    def prune(self) -> int:
        """Remove jobs some days after they ended."""
        return self._jobs.prune()
