"""Repositories by name, with what their default branches point at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, select
from typing_extensions import override

from plait.errors import AlreadyExists, NotFound
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.model.refs import DEFAULT_BRANCH, RefKind, RefName
from plait_registry.adapters.sql.dialect import insert_new
from plait_registry.adapters.sql.tables import commits, refs, repositories
from plait_registry.domain.ports import RepositoryTable
from plait_registry.domain.records import RepositoryId, RepositoryQuery, RepositoryRecord

_AFTER_SLASH = "0"
"""The character after `/` in ASCII, which ends the range of a namespace's keys."""

_COLUMNS = [
    repositories.c.id,
    repositories.c.namespace,
    repositories.c.name,
    repositories.c.description,
    repositories.c.default_branch,
    repositories.c.created_at,
    refs.c.target,
    commits.c.adapter_type,
    commits.c.base,
]
_SELECT = select(*_COLUMNS).select_from(
    repositories.outerjoin(
        refs,
        and_(
            refs.c.repository_id == repositories.c.id,
            refs.c.name == repositories.c.default_branch,
            refs.c.kind == RefKind.BRANCH.value,
        ),
    ).outerjoin(commits, commits.c.id == refs.c.target)
)
_GET = _SELECT.where(repositories.c.key == bindparam("key"))


class SqlRepositoryTable(RepositoryTable):
    """Repositories in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, name: RepositoryName, description: str, created_at: str) -> RepositoryRecord:
        row = {
            "key": name.key,
            "namespace": name.namespace,
            "name": name.name,
            "description": description,
            "search_text": f"{name}\n{description}".casefold(),
            "default_branch": DEFAULT_BRANCH,
            "created_at": created_at,
        }
        if insert_new(self._connection, repositories, [row]) == 0:
            taken = self.get(name).name
            raise AlreadyExists(
                "repository-exists",
                f"There is a repository {taken} already: push to it, or choose another name.",
                repository=str(taken),
            )
        return self.get(name)

    @override
    def get(self, name: RepositoryName) -> RepositoryRecord:
        row = self._connection.execute(_GET, {"key": name.key}).one_or_none()
        if row is None:
            raise NotFound(
                "repository-not-found",
                f"There is no repository {name} here, or you may not see it: check the name, or "
                f"make it with `plait repo create {name}`.",
                repository=str(name),
            )
        return _read(row)

    @override
    def search(self, query: RepositoryQuery) -> Sequence[RepositoryRecord]:
        statement = _SELECT.where(*_conditions(query)).order_by(repositories.c.key)
        return [_read(row) for row in self._connection.execute(statement.limit(query.limit))]


def _conditions(query: RepositoryQuery) -> Iterator[ColumnElement[bool]]:
    if query.text:
        yield repositories.c.search_text.contains(query.text.casefold(), autoescape=True)
    if query.namespace is not None:
        namespace = query.namespace.lower()
        yield repositories.c.key > f"{namespace}/"
        yield repositories.c.key < f"{namespace}{_AFTER_SLASH}"
    if query.base is not None:
        yield commits.c.base == query.base
    if query.adapter_type is not None:
        yield commits.c.adapter_type == query.adapter_type
    if query.after is not None:
        yield repositories.c.key > query.after


def _read(row: Row[Any]) -> RepositoryRecord:
    return RepositoryRecord(
        id=RepositoryId(row.id),
        name=RepositoryName(row.namespace, row.name),
        description=row.description,
        default_branch=RefName(row.default_branch),
        created_at=row.created_at,
        head=None if row.target is None else CommitId(row.target),
        adapter_type=row.adapter_type,
        base=row.base,
    )
