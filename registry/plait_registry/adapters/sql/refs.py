"""Branches and tags, moved by compare-and-swap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update
from typing_extensions import override

from plait.model.ids import CommitId
from plait.model.refs import Ref, RefKind, RefName, RefUpdate
from plait_registry.adapters.sql.dialect import insert_new
from plait_registry.adapters.sql.tables import refs, retired_tags
from plait_registry.adapters.sql.versions import advance_version
from plait_registry.domain.ports import RefTable
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.ref_update import moved, plan_deletion, plan_update

_FIND = select(refs).where(
    refs.c.repository_id == bindparam("repository"), refs.c.name == bindparam("name")
)


class SqlRefTable(RefTable):
    """Refs in one transaction.

    The rules are the domain's. The statements repeat the expected target, so that the swap is
    right even on a database that lets two writes run at once.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def find(self, repository: RepositoryId, name: RefName) -> Ref | None:
        given = {"repository": repository, "name": name}
        row = self._connection.execute(_FIND, given).one_or_none()
        return None if row is None else _read(row)

    @override
    def list(self, repository: RepositoryId) -> Sequence[Ref]:
        rows = self._connection.execute(
            select(refs)
            .where(refs.c.repository_id == repository)
            .order_by(refs.c.kind, refs.c.name)
        )
        return [_read(row) for row in rows]

    @override
    def compare_and_set(self, repository: RepositoryId, update: RefUpdate) -> None:
        current = self.find(repository, update.name)
        retired = current is None and self._is_retired(repository, update.name)
        if not plan_update(update, current, retired=retired):
            return
        done = (
            self._insert(repository, update) if current is None else self._move(repository, update)
        )
        if not done:
            found = self.find(repository, update.name)
            raise moved(update, None if found is None else found.target)
        advance_version(self._connection, repository)

    @override
    def delete(self, repository: RepositoryId, name: RefName, expected: CommitId) -> None:
        current = plan_deletion(name, expected, self.find(repository, name))
        if current.kind is RefKind.TAG:
            retired = {"repository_id": repository, "name": name}
            insert_new(self._connection, retired_tags, [retired])
        self._connection.execute(
            delete(refs).where(
                refs.c.repository_id == repository,
                refs.c.name == name,
                refs.c.target == expected,
            )
        )
        advance_version(self._connection, repository)

    def _insert(self, repository: RepositoryId, wanted: RefUpdate) -> bool:
        row = {
            "repository_id": repository,
            "name": wanted.name,
            "kind": wanted.kind.value,
            "target": wanted.new,
        }
        return insert_new(self._connection, refs, [row]) == 1

    def _move(self, repository: RepositoryId, wanted: RefUpdate) -> bool:
        result = self._connection.execute(
            update(refs)
            .where(
                refs.c.repository_id == repository,
                refs.c.name == wanted.name,
                refs.c.target == wanted.expected,
            )
            .values(target=wanted.new)
        )
        return result.rowcount == 1

    def _is_retired(self, repository: RepositoryId, name: RefName) -> bool:
        statement = select(retired_tags.c.name).where(
            retired_tags.c.repository_id == repository, retired_tags.c.name == name
        )
        return self._connection.execute(statement).one_or_none() is not None


def _read(row: Row[Any]) -> Ref:
    return Ref(RefKind(row.kind), RefName(row.name), CommitId(row.target))
