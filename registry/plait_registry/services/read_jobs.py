"""Showing jobs."""

from __future__ import annotations

from collections.abc import Sequence

from plait.model.address import RepositoryName
from plait_registry.domain.access import Caller, Right
from plait_registry.domain.jobs import JobId, JobRow
from plait_registry.domain.ports import Database
from plait_registry.services.access import find_repository
from plait_registry.services.find_job import JobView, find_job, look_at


class GetJob:
    """Finds one job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller, job: JobId) -> JobView:
        """Return the job.

        Raises:
            NotFound: `job-not-found`.
        """
        with self._database.read() as records:
            return look_at(records, caller, find_job(records, caller, job))


class ListJobs:
    """Lists the jobs of a repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(
        self, caller: Caller, name: RepositoryName, *, before: int | None, limit: int
    ) -> Sequence[JobRow]:
        """Return them, newest first; what is inside of them is not for all who may list them.

        Raises:
            NotFound: `repository-not-found`.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            return records.jobs.search(repository.id, before=before, limit=limit)
