"""Writing down how a job ended, in the transaction that ends it."""

from __future__ import annotations

from plait_registry.domain.access import Caller
from plait_registry.domain.change import Action, Change
from plait_registry.domain.jobs import JobRow
from plait_registry.domain.ports import Records
from plait_registry.services.changes import record_change


def write_end(records: Records, job: JobRow, at: str, *, by: Caller | None = None) -> JobRow:
    """Write a job that ended, and tell of it: as done `by` somebody, or else by the job itself.

    Call it last in a transaction, as `record_change`.
    """
    records.jobs.update(job)
    details = {
        "job": job.id,
        "kind": job.kind.value,
        "ref": job.ref,
        "state": job.state.value,
        "commit": None if job.result is None else job.result.commit,
        "verdict": None if job.result is None else job.result.verdict,
        # Not its words, which name inputs: not all who hear of it may read those.
        "error": None if job.error is None else job.error.kind,
    }
    change = Change.of_repository(Action.JOB_END, job.target, **details)
    record_change(records, by or Caller(job.requester.name, token=job.id), change, at=at)
    return job
