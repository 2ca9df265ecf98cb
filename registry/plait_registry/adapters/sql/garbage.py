"""Marks, condemned objects, and rows that nothing holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, delete, exists, select, update
from sqlalchemy.sql.elements import ColumnElement
from typing_extensions import override

from plait.model.ids import ObjectId
from plait_registry.adapters.sql.dialect import batches, insert_new
from plait_registry.adapters.sql.garbage_tables import (
    condemned_objects,
    garbage_marks,
    holds,
    push_documents,
)
from plait_registry.adapters.sql.pushes import read_push, read_upload
from plait_registry.adapters.sql.tables import (
    commit_parents,
    commits,
    file_extents,
    files,
    manifests,
    objects,
    push_commits,
    push_manifests,
    pushes,
    repository_commits,
    repository_files,
    tensors,
    uploads,
)
from plait_registry.domain.garbage import (
    CondemnedTable,
    MarkKind,
    MarkTable,
    RemainsTable,
    RowKind,
)
from plait_registry.domain.records import PushRow, RepositoryId, UploadRow

_OBJECTS = objects
_PUSHES = pushes


class SqlMarkTable(MarkTable):
    """Marks in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def load(self, kind: MarkKind, repository: RepositoryId) -> Mapping[str, str]:
        rows = self._connection.execute(
            select(garbage_marks.c.id, garbage_marks.c.since).where(*_of(kind, repository))
        )
        return {row.id: row.since for row in rows}

    @override
    def find(
        self, kind: MarkKind, repository: RepositoryId, ids: Collection[str]
    ) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for batch in batches(ids):
            rows = self._connection.execute(
                select(garbage_marks.c.id, garbage_marks.c.since).where(
                    *_of(kind, repository), garbage_marks.c.id.in_(batch)
                )
            )
            found.update({row.id: row.since for row in rows})
        return found

    @override
    def insert(
        self, kind: MarkKind, repository: RepositoryId, ids: Collection[str], now: str
    ) -> None:
        same = {"kind": kind.value, "repository_id": repository, "since": now}
        insert_new(self._connection, garbage_marks, [{**same, "id": item} for item in ids])

    @override
    def remove(self, kind: MarkKind, repository: RepositoryId, ids: Collection[str]) -> None:
        for batch in batches(ids):
            self._connection.execute(
                delete(garbage_marks).where(*_of(kind, repository), garbage_marks.c.id.in_(batch))
            )


def _of(kind: MarkKind, repository: RepositoryId) -> tuple[ColumnElement[bool], ...]:
    return (garbage_marks.c.kind == kind.value, garbage_marks.c.repository_id == repository)


class SqlCondemnedTable(CondemnedTable):
    """Condemned objects in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def find(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, str]:
        found: dict[ObjectId, str] = {}
        for batch in batches(objects):
            rows = self._connection.execute(
                select(condemned_objects).where(condemned_objects.c.sha256.in_(batch))
            )
            found.update({ObjectId(row.sha256): row.condemned_at for row in rows})
        return found

    @override
    def list(self) -> Mapping[ObjectId, str]:
        rows = self._connection.execute(select(condemned_objects))
        return {ObjectId(row.sha256): row.condemned_at for row in rows}

    @override
    def put(self, objects: Collection[ObjectId], now: str) -> None:
        self.remove(objects)
        rows = [{"sha256": item, "condemned_at": now} for item in objects]
        insert_new(self._connection, condemned_objects, rows)

    @override
    def remove(self, objects: Collection[ObjectId]) -> None:
        _delete(self._connection, condemned_objects, "sha256", objects)

    @override
    def reserve(self, push: str, documents: Collection[ObjectId]) -> None:
        rows = [{"push_id": push, "sha256": item} for item in documents]
        insert_new(self._connection, push_documents, rows)

    @override
    def release(self, pushes: Collection[str]) -> None:
        _delete(self._connection, push_documents, "push_id", pushes)

    @override
    def hold(self, name: str, until: str | None) -> None:
        self._connection.execute(delete(holds).where(holds.c.name == name))
        if until is not None:
            insert_new(self._connection, holds, [{"name": name, "until": until}])

    @override
    def is_held(self, now: str) -> bool:
        statement = select(holds.c.name).where(holds.c.until >= now).limit(1)
        return self._connection.execute(statement).one_or_none() is not None


_HOLDERS = {
    RowKind.COMMIT: (commits, repository_commits.c.commit_id),
    RowKind.MANIFEST: (manifests, commits.c.manifest_id),
    RowKind.FILE: (files, repository_files.c.file_sha256),
}
"""The rows of each kind, and the column by which they are held."""

_PARTS: dict[RowKind, tuple[tuple[Table, str], ...]] = {
    RowKind.COMMIT: ((commit_parents, "commit_id"),),
    RowKind.MANIFEST: (),
    RowKind.FILE: ((tensors, "file_sha256"), (file_extents, "file_sha256")),
}
"""What goes with a row."""

_NEEDS = (
    file_extents.c.object_sha256,
    files.c.document,
    commits.c.id,
    manifests.c.id,
    uploads.c.object_sha256,
    push_commits.c.commit_id,
    push_manifests.c.manifest_id,
    push_documents.c.sha256,
)
"""Every column that names an object of the store."""


class SqlRemainsTable(RemainsTable):
    """What nothing holds, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def list_unheld(self, kind: RowKind) -> Sequence[str]:
        statement = _select_unheld(kind)
        if kind is RowKind.COMMIT:
            statement = statement.order_by(commits.c.generation.desc())
        return self._connection.execute(statement).scalars().all()

    @override
    def drop_unheld(self, kind: RowKind, ids: Collection[str]) -> int:
        table, _ = _HOLDERS[kind]
        key = _key(table)
        dropped = 0
        for batch in batches(ids):
            unheld = self._connection.execute(_select_unheld(kind).where(key.in_(batch)))
            goes = unheld.scalars().all()
            for part, column in _PARTS[kind]:
                _delete(self._connection, part, column, goes)
            _delete(self._connection, table, key.name, goes)
            dropped += len(goes)
        return dropped

    @override
    def list_undocumented(self, limit: int) -> Sequence[ObjectId]:
        statement = select(files.c.sha256).where(files.c.document.is_(None)).limit(limit)
        return [ObjectId(item) for item in self._connection.execute(statement).scalars()]

    @override
    def name_documents(self, documents: Mapping[ObjectId, ObjectId]) -> None:
        if documents:
            self._connection.execute(
                update(files)
                .where(files.c.sha256 == bindparam("file"))
                .values(document=bindparam("found")),
                [{"file": file, "found": document} for file, document in documents.items()],
            )

    @override
    def find_needed(self, objects: Collection[ObjectId]) -> frozenset[ObjectId]:
        found: set[ObjectId] = set()
        for batch in batches(objects):
            for column in _NEEDS:
                statement = select(column).where(column.in_(batch))
                found.update(map(ObjectId, self._connection.execute(statement).scalars()))
        return frozenset(found)

    @override
    def list_loose(self) -> Sequence[ObjectId]:
        used = exists().where(file_extents.c.object_sha256 == objects.c.sha256)
        statement = select(objects.c.sha256).where(~used)
        return [ObjectId(item) for item in self._connection.execute(statement).scalars()]

    @override
    def drop_objects(self, objects: Collection[ObjectId]) -> None:
        _delete(self._connection, _OBJECTS, "sha256", objects)

    @override
    def list_pushes(self, repository: RepositoryId | None = None) -> Sequence[PushRow]:
        statement = select(pushes).order_by(pushes.c.created_at, pushes.c.id)
        if repository is not None:
            statement = statement.where(pushes.c.repository_id == repository)
        return [read_push(row) for row in self._connection.execute(statement)]

    @override
    def drop_pushes(self, pushes: Collection[str]) -> None:
        for table in (push_commits, push_manifests, push_documents):
            _delete(self._connection, table, "push_id", pushes)
        _delete(self._connection, _PUSHES, "id", pushes)

    @override
    def list_uploads(self) -> Sequence[UploadRow]:
        rows = self._connection.execute(select(uploads).order_by(uploads.c.id))
        return [read_upload(row) for row in rows]

    @override
    def drop_upload(self, upload: UploadRow) -> None:
        self._connection.execute(
            delete(uploads).where(
                uploads.c.repository_id == upload.repository,
                uploads.c.file_sha256 == upload.file,
                uploads.c.object_sha256 == upload.object,
                uploads.c.handle == upload.handle,
            )
        )


def _select_unheld(kind: RowKind) -> Select[Any]:
    table, holder = _HOLDERS[kind]
    return select(_key(table)).where(~exists().where(holder == _key(table)))


def _key(table: Table) -> ColumnElement[Any]:
    return next(iter(table.primary_key.columns))


def _delete(connection: Connection, table: Table, column: str, ids: Collection[str]) -> None:
    for batch in batches(ids):
        connection.execute(delete(table).where(table.c[column].in_(batch)))
