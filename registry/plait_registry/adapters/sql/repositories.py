"""Repositories by name, with what their default branches point at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    false,
    func,
    or_,
    select,
    true,
    update,
)
from typing_extensions import override

from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.model.refs import DEFAULT_BRANCH, RefKind, RefName
from plait.model.repository_kind import RepositoryKind
from plait_registry.adapters.sql.dialect import insert_new
from plait_registry.adapters.sql.garbage_tables import push_documents
from plait_registry.adapters.sql.tables import (
    METADATA,
    commits,
    objects,
    push_commits,
    push_manifests,
    pushes,
    refs,
    repositories,
)
from plait_registry.adapters.sql.versions import advance_version
from plait_registry.domain.access import Readable
from plait_registry.domain.policy import missing_repository, repository_exists
from plait_registry.domain.ports import RepositoryTable
from plait_registry.domain.records import (
    NewRepository,
    RepositoryId,
    RepositoryQuery,
    RepositoryRecord,
)
from plait_registry.domain.validation_wish import ValidationTrigger

_AFTER_SLASH = "0"
"""The character after `/` in ASCII, which ends the range of a namespace's keys."""

_COLUMNS = [
    repositories.c.id,
    repositories.c.namespace,
    repositories.c.name,
    repositories.c.description,
    repositories.c.private,
    repositories.c.salt,
    repositories.c.default_branch,
    repositories.c.created_at,
    repositories.c.kind,
    repositories.c.validate_on,
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
    def insert(self, new: NewRepository) -> RepositoryRecord:
        row = {
            "key": new.name.key,
            "namespace": new.name.namespace,
            "name": new.name.name,
            "description": new.description,
            "search_text": _search_text(new.name, new.description),
            "default_branch": DEFAULT_BRANCH,
            "created_at": new.created_at,
            "private": new.private,
            "salt": new.salt,
            "kind": new.kind.value,
        }
        if insert_new(self._connection, repositories, [row]) == 0:
            raise repository_exists(self.get(new.name).name)
        inserted = self.get(new.name)
        advance_version(self._connection, inserted.id)
        return inserted

    @override
    def get(self, name: RepositoryName) -> RepositoryRecord:
        row = self._connection.execute(_GET, {"key": name.key}).one_or_none()
        if row is None:
            raise missing_repository(name)
        return _read(row)

    @override
    def search(self, query: RepositoryQuery) -> Sequence[RepositoryRecord]:
        statement = _SELECT.where(*_conditions(query)).order_by(repositories.c.key)
        return [_read(row) for row in self._connection.execute(statement.limit(query.limit))]

    @override
    def update(
        self,
        repository: RepositoryId,
        *,
        description: str,
        private: bool,
        validate_on: ValidationTrigger = ValidationTrigger.NONE,
    ) -> None:
        row = self._connection.execute(
            select(repositories.c.namespace, repositories.c.name).where(
                repositories.c.id == repository
            )
        ).one()
        self._connection.execute(
            update(repositories)
            .where(repositories.c.id == repository)
            .values(
                description=description,
                search_text=_search_text(RepositoryName(row.namespace, row.name), description),
                private=private,
                validate_on=validate_on.value,
            )
        )
        advance_version(self._connection, repository)

    @override
    def delete(self, repository: RepositoryId) -> None:
        advance_version(self._connection, repository)
        own = select(pushes.c.id).where(pushes.c.repository_id == repository)
        for table in (push_commits, push_manifests, push_documents):
            self._connection.execute(delete(table).where(table.c.push_id.in_(own)))
        # SQLite gives an id again: the next one must not read the objects of this one.
        self._connection.execute(
            update(objects).where(objects.c.home_id == repository).values(home_id=None)
        )
        # Whatever names the repository goes before what it names itself.
        for table in reversed(METADATA.sorted_tables):
            if "repository_id" in table.c:
                self._connection.execute(delete(table).where(table.c.repository_id == repository))
        self._connection.execute(delete(repositories).where(repositories.c.id == repository))


def is_readable(readable: Readable) -> ColumnElement[bool]:
    """Return the condition that a row of `repositories` is one that a caller may read."""
    namespace = func.lower(repositories.c.namespace)
    conditions: list[ColumnElement[bool]] = []
    if readable.members is not None:
        is_member = namespace.in_(sorted(readable.members))
        conditions.append(or_(repositories.c.private.is_(false()), is_member))
    if readable.namespaces is not None:
        is_named = repositories.c.key.in_(sorted(readable.repositories))
        conditions.append(or_(namespace.in_(sorted(readable.namespaces)), is_named))
    return and_(true(), *conditions)


def _search_text(name: RepositoryName, description: str) -> str:
    return f"{name}\n{description}".casefold()


def _conditions(query: RepositoryQuery) -> Iterator[ColumnElement[bool]]:
    yield is_readable(query.readable)
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
    if query.kind is not None:
        yield repositories.c.kind == query.kind.value
    if query.after is not None:
        yield repositories.c.key > query.after


def _read(row: Row[Any]) -> RepositoryRecord:
    return RepositoryRecord(
        id=RepositoryId(row.id),
        name=RepositoryName(row.namespace, row.name),
        description=row.description,
        private=row.private,
        salt=row.salt,
        default_branch=RefName(row.default_branch),
        created_at=row.created_at,
        head=None if row.target is None else CommitId(row.target),
        adapter_type=row.adapter_type,
        base=row.base,
        kind=RepositoryKind(row.kind),
        validate_on=ValidationTrigger(row.validate_on),
    )
