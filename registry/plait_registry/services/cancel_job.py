"""Cancelling a job."""

from __future__ import annotations

from plait_registry.domain.access import Caller
from plait_registry.domain.jobs import JobId, JobState, ended_job
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.services.end_job import write_end
from plait_registry.services.find_job import JobView, find_job, look_at, verify_may_end


class CancelJob:
    """Ends a job that nobody wants any more."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, job: JobId) -> JobView:
        """Return the job, cancelled; twice is fine.

        From here on its token lets nothing through, so that nothing of it becomes visible any more;
        its process hears of it with its next report.

        Raises:
            NotFound: `job-not-found`.
            PermissionDenied: it is somebody else's, and the caller is no maintainer.
            Conflict: `job-ended`, it is done, or failed.
        """
        now = self._clock.now()

        def cancel(records: Records) -> JobView:
            found = find_job(records, caller, job)
            verify_may_end(records, caller, found)
            if found.state is JobState.CANCELLED:
                return look_at(records, caller, found)
            if not found.state.is_open:
                raise ended_job(found)
            view = look_at(records, caller, found.cancelled(now))
            write_end(records, view.job, now, by=caller)
            return view

        return self._database.transact(cancel)
