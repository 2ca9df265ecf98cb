"""How much there is of what is limited, counted in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from typing_extensions import override

from plait.model.ids import CommitId
from plait_registry.adapters.memory.state import MemoryTable
from plait_registry.domain.accounts import UserId
from plait_registry.domain.records import PushId, PushState, RepositoryId
from plait_registry.domain.tallies import NoteTally, TallyTable, measure_body


class MemoryTallyTable(MemoryTable, TallyTable):
    """Counts in one transaction."""

    @override
    def count_repositories(self, namespace: str) -> int:
        return sum(key.startswith(f"{namespace}/") for key in self._state.repositories)

    @override
    def count_refs(self, repository: RepositoryId) -> int:
        return sum(owner == repository for owner, _ in self._state.refs)

    @override
    def count_open_pushes(self, repository: RepositoryId) -> int:
        return sum(
            push.repository == repository and push.state is PushState.OPEN
            for push in self._state.pushes.values()
        )

    @override
    def count_open_jobs(self, repository: RepositoryId) -> int:
        rows = self._state.jobs.values()
        return sum(job.repository == repository and job.state.is_open for job in rows)

    @override
    def count_open_jobs_of(self, user: UserId | None) -> int:
        rows = self._state.jobs.values()
        return sum(job.requester.user == user and job.state.is_open for job in rows)

    @override
    def measure_staged(self, push: PushId) -> int:
        staged = [
            *((owner, row.body) for (owner, _), row in self._state.push_commits.items()),
            *((owner, row.body) for (owner, _), row in self._state.push_manifests.items()),
        ]
        return sum(len(body) for owner, body in staged if owner == push)

    @override
    def measure_notes(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, NoteTally]:
        wanted = set(commits)
        found: dict[CommitId, NoteTally] = {}
        for owner, note in self._state.notes.values():
            if owner == repository and note.commit in wanted:
                before = found.get(note.commit, NoteTally(0, 0))
                size = before.size + measure_body(note.body)
                found[note.commit] = NoteTally(before.count + 1, size)
        return found
