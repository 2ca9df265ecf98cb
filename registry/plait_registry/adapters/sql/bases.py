"""Which commits are versions of bases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, and_, or_, select
from typing_extensions import override

from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId
from plait_registry.adapters.sql.base_tables import bases
from plait_registry.adapters.sql.dialect import insert_new
from plait_registry.adapters.sql.repositories import is_readable
from plait_registry.adapters.sql.tables import commits, repositories, repository_commits
from plait_registry.domain.bases import BaseQuery, BaseRow, BaseTable, HeldBase

_SELECT = select(
    repositories.c.namespace,
    repositories.c.name.label("repository_name"),
    commits.c.time,
    commits.c.generation,
    bases,
).select_from(
    bases.join(commits, commits.c.id == bases.c.commit_id)
    .join(repository_commits, repository_commits.c.commit_id == bases.c.commit_id)
    .join(repositories, repositories.c.id == repository_commits.c.repository_id)
)


class SqlBaseTable(BaseTable):
    """Bases in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, rows: Sequence[BaseRow]) -> None:
        values = [
            {
                "commit_id": row.commit,
                "name": row.name,
                "revision": row.revision,
                "fingerprint": row.fingerprint,
            }
            for row in rows
        ]
        insert_new(self._connection, bases, values)

    @override
    def search(self, query: BaseQuery) -> Sequence[HeldBase]:
        statement = (
            _SELECT.where(*_conditions(query))
            .order_by(repositories.c.key, bases.c.commit_id)
            .limit(query.limit)
        )
        return [
            HeldBase(
                RepositoryName(row.namespace, row.repository_name),
                BaseRow(CommitId(row.commit_id), row.name, row.revision, ObjectId(row.fingerprint)),
                row.time,
                row.generation,
            )
            for row in self._connection.execute(statement)
        ]


def _conditions(query: BaseQuery) -> Iterator[ColumnElement[bool]]:
    yield is_readable(query.readable)
    if query.fingerprint is not None:
        yield bases.c.fingerprint == query.fingerprint
    if query.name is not None:
        yield bases.c.name == query.name
    if query.after is not None:
        key, commit = query.after
        yield or_(
            repositories.c.key > key,
            and_(repositories.c.key == key, bases.c.commit_id > commit),
        )
