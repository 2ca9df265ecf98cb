"""How much there is of what is limited, counted by the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, Text, cast, func, select
from typing_extensions import override

from plait.model.ids import CommitId
from plait_registry.adapters.sql.dialect import batches
from plait_registry.adapters.sql.job_tables import jobs
from plait_registry.adapters.sql.tables import (
    notes,
    push_commits,
    push_manifests,
    pushes,
    refs,
    repositories,
)
from plait_registry.adapters.sql.usage import within_namespace
from plait_registry.domain.accounts import UserId
from plait_registry.domain.jobs import OPEN_STATES
from plait_registry.domain.records import PushId, PushState, RepositoryId
from plait_registry.domain.tallies import NoteTally, TallyTable

_IS_OPEN = jobs.c.state.in_([state.value for state in OPEN_STATES])


class SqlTallyTable(TallyTable):
    """Counts in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def count_repositories(self, namespace: str) -> int:
        statement = (
            select(func.count()).select_from(repositories).where(*within_namespace(namespace))
        )
        return int(self._connection.execute(statement).scalar_one())

    @override
    def count_refs(self, repository: RepositoryId) -> int:
        statement = select(func.count()).select_from(refs).where(refs.c.repository_id == repository)
        return int(self._connection.execute(statement).scalar_one())

    @override
    def count_open_pushes(self, repository: RepositoryId) -> int:
        statement = (
            select(func.count())
            .select_from(pushes)
            .where(pushes.c.repository_id == repository, pushes.c.state == PushState.OPEN.value)
        )
        return int(self._connection.execute(statement).scalar_one())

    @override
    def count_open_jobs(self, repository: RepositoryId) -> int:
        is_of = jobs.c.repository_id == repository
        statement = select(func.count()).select_from(jobs).where(is_of, _IS_OPEN)
        return int(self._connection.execute(statement).scalar_one())

    @override
    def count_open_jobs_of(self, user: UserId | None) -> int:
        is_of = jobs.c.user_id.is_(None) if user is None else jobs.c.user_id == user
        statement = select(func.count()).select_from(jobs).where(is_of, _IS_OPEN)
        return int(self._connection.execute(statement).scalar_one())

    @override
    def measure_staged(self, push: PushId) -> int:
        sizes = [
            select(func.coalesce(func.sum(func.length(table.c.body)), 0))
            .where(table.c.push_id == push)
            .scalar_subquery()
            for table in (push_commits, push_manifests)
        ]
        return int(self._connection.execute(select(sizes[0] + sizes[1])).scalar_one())

    @override
    def measure_notes(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, NoteTally]:
        found = {}
        for batch in batches(commits):
            rows = self._connection.execute(
                select(
                    notes.c.commit_id,
                    func.count().label("count"),
                    # Characters, which are bytes: the driver writes JSON in ASCII.
                    func.sum(func.length(cast(notes.c.body, Text))).label("size"),
                )
                .where(notes.c.repository_id == repository, notes.c.commit_id.in_(batch))
                .group_by(notes.c.commit_id)
            )
            # Not `row.count`, which is a method of every row.
            for commit, count, size in rows:
                found[CommitId(commit)] = NoteTally(int(count), int(size))
        return found
