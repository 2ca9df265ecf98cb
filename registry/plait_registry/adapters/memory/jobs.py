"""Jobs in memory."""

from __future__ import annotations

from dataclasses import replace

from typing_extensions import override

from plait_registry.adapters.memory.state import MemoryTable, verify_present
from plait_registry.domain.accounts import UserId
from plait_registry.domain.jobs import (
    ANY_JOB,
    JobId,
    JobOffer,
    JobRow,
    JobState,
    JobTable,
    missing_job,
)
from plait_registry.domain.records import RepositoryId


class MemoryJobTable(MemoryTable, JobTable):
    """Jobs in one transaction."""

    @override
    def insert(self, job: JobRow, payload: bytes) -> JobRow:
        draft = self._draft
        present = any(row.id == job.repository for row in draft.repositories.values())
        verify_present(present, "such repository")
        number = max(draft.job_numbers, default=0) + 1
        draft.job_numbers[number] = None
        draft.jobs[job.id] = replace(job, number=number)
        draft.job_payloads[job.id] = payload
        return draft.jobs[job.id]

    @override
    def get(self, job: JobId) -> JobRow:
        if job not in self._state.jobs:
            raise missing_job(job)
        return self._state.jobs[job]

    @override
    def load_payload(self, job: JobId) -> bytes:
        return self._state.job_payloads[self.get(job).id]

    @override
    def find_by_digest(self, digest: str) -> JobRow | None:
        found = (
            job for job in self._state.jobs.values() if job.lease and job.lease.digest == digest
        )
        return next(found, None)

    @override
    def search(
        self, repository: RepositoryId, *, before: int | None = None, limit: int = 50
    ) -> list[JobRow]:
        found = [
            job
            for job in self._state.jobs.values()
            if job.repository == repository and (before is None or job.number < before)
        ]
        return sorted(found, key=lambda job: -job.number)[:limit]

    @override
    def find_latest(self, repository: RepositoryId, subject: str) -> JobRow | None:
        found = self.search(repository, limit=len(self._state.jobs))
        return next((job for job in found if job.subject == subject), None)

    @override
    def find_due(self, now: str, offer: JobOffer = ANY_JOB) -> JobId | None:
        rows = self._state.jobs.values()
        running = [job.requester.user for job in rows if job.state is JobState.RUNNING]
        due = [
            (running.count(job.requester.user), job.due_at, job.number, job.id)
            for job in rows
            if job.is_due(now) and offer.takes(job)
        ]
        first = min(due, default=None)
        return None if first is None else first[3]

    @override
    def postpone(self, user: UserId | None, now: str) -> None:
        for key, job in self._draft.jobs.items():
            is_due = job.state is JobState.QUEUED and job.due_at < now
            if is_due and job.requester.user == user:
                self._draft.jobs[key] = replace(job, due_at=now)

    @override
    def update(self, job: JobRow) -> None:
        if job.id in self._draft.jobs:
            self._draft.jobs[job.id] = job

    @override
    def prune(self, before: str) -> int:
        draft = self._draft
        old = {
            key
            for key, job in draft.jobs.items()
            if not job.state.is_open and job.ended_at is not None and job.ended_at < before
        }
        draft.drop_jobs(lambda job: job.id in old)
        return len(old)
