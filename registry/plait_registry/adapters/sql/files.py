"""Manifests, files, the objects that hold their bytes, and the tensors inside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    exists,
    func,
    select,
    update,
)
from typing_extensions import override

from plait.model.ids import ManifestId, ObjectId
from plait_registry.adapters.sql import tables
from plait_registry.adapters.sql.dialect import batches, insert_new
from plait_registry.adapters.sql.repositories import is_readable
from plait_registry.adapters.sql.versions import advance_version
from plait_registry.domain.access import Readable
from plait_registry.domain.extents import cut_extents
from plait_registry.domain.ports import FileTable
from plait_registry.domain.records import Extent, FileRow, ObjectRow, RepositoryId


def _select_manifests() -> Select[Any]:
    """Select those `manifests` that a commit of `repository` names.

    One EXISTS inside the other, as a join of the two would be begun at the wrong end: with all of
    the repository's commits.
    """
    held = tables.repository_commits
    is_held = exists().where(
        held.c.repository_id == bindparam("repository"), held.c.commit_id == tables.commits.c.id
    )
    named = exists().where(tables.commits.c.manifest_id == tables.manifests.c.id, is_held)
    wanted = tables.manifests.c.id.in_(bindparam("manifests", expanding=True))
    return select(tables.manifests).where(wanted, named)


def _is_held(file: ColumnElement[str], readable: Readable) -> ColumnElement[bool]:
    """Return the condition that a readable repository holds a file."""
    held = tables.repository_files
    return exists().where(
        held.c.file_sha256 == file,
        tables.repositories.c.id == held.c.repository_id,
        is_readable(readable),
    )


def _select_tensors(readable: Readable) -> Select[Any]:
    """Select one place of each of `tensors` that may be used: any is as good as another."""
    tensors = tables.tensors
    chosen = (
        select(tensors.c.sha256, func.min(tensors.c.file_sha256).label("file"))
        .where(
            tensors.c.sha256.in_(bindparam("tensors", expanding=True)),
            _is_held(tensors.c.file_sha256, readable),
        )
        .group_by(tensors.c.sha256)
        .subquery("chosen")
    )
    same = (tensors.c.sha256 == chosen.c.sha256) & (tensors.c.file_sha256 == chosen.c.file)
    return select(tensors).select_from(chosen.join(tensors, same))


def _select_extents() -> Select[Any]:
    """Select `files` with their extents in order; an empty file is one row without an extent."""
    files, extents = tables.files, tables.file_extents
    return (
        select(files.c.sha256, extents.c.object_sha256, extents.c.offset, extents.c.size)
        .select_from(files.outerjoin(extents, extents.c.file_sha256 == files.c.sha256))
        .where(files.c.sha256.in_(bindparam("files", expanding=True)))
        .order_by(files.c.sha256, extents.c.position)
    )


_MANIFESTS = _select_manifests()
_EXTENTS = _select_extents()
_EXTENTS_OF_REPOSITORY = _EXTENTS.join_from(
    tables.files,
    tables.repository_files,
    (tables.repository_files.c.file_sha256 == tables.files.c.sha256)
    & (tables.repository_files.c.repository_id == bindparam("repository")),
)
_KNOWN = select(tables.files.c.sha256, tables.files.c.tensor_table).where(
    tables.files.c.sha256.in_(bindparam("files", expanding=True))
)
_OBJECTS = select(tables.objects.c.sha256, tables.objects.c.home_id).where(
    tables.objects.c.sha256.in_(bindparam("objects", expanding=True))
)


class SqlFileTable(FileTable):
    """Files in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert_manifests(self, manifests: Mapping[ManifestId, bytes]) -> None:
        rows = [{"id": key, "body": body} for key, body in manifests.items()]
        insert_new(self._connection, tables.manifests, rows)

    @override
    def load_manifests(
        self, repository: RepositoryId, manifests: Collection[ManifestId]
    ) -> Mapping[ManifestId, bytes]:
        found: dict[ManifestId, bytes] = {}
        for batch in batches(manifests):
            given = {"repository": repository, "manifests": batch}
            for row in self._connection.execute(_MANIFESTS, given):
                found[ManifestId(row.id)] = row.body
        return found

    @override
    def insert(
        self, repository: RepositoryId, files: Sequence[FileRow], objects: Sequence[ObjectRow]
    ) -> None:
        # In one order, as two pushes of the same files would otherwise wait for each other.
        files = sorted(files, key=attrgetter("sha256"))
        objects = sorted(objects, key=attrgetter("sha256"))
        object_rows = [
            {"sha256": row.sha256, "size": row.size, "home_id": row.home} for row in objects
        ]
        insert_new(self._connection, tables.objects, object_rows)
        known = self._find(_KNOWN, [row.sha256 for row in files])
        fresh = [row for row in files if row.sha256 not in known]
        insert_new(self._connection, tables.files, [_write_file(row) for row in fresh])
        insert_new(self._connection, tables.file_extents, _write_extents(fresh))
        self._name_tables([row for row in files if row.sha256 in known and row.table])
        insert_new(self._connection, tables.tensors, _write_tensors(files))
        self.link(repository, [row.sha256 for row in files])

    def _name_tables(self, files: Sequence[FileRow]) -> None:
        """Add the tensor tables of files that were stored under names without one."""
        if files:
            self._connection.execute(
                update(tables.files)
                .where(
                    tables.files.c.sha256 == bindparam("file"),
                    tables.files.c.tensor_table.is_(None),
                )
                .values(tensor_table=bindparam("found")),
                [{"file": row.sha256, "found": row.table} for row in files],
            )

    @override
    def link(self, repository: RepositoryId, files: Collection[ObjectId]) -> None:
        rows = [{"repository_id": repository, "file_sha256": file} for file in files]
        insert_new(self._connection, tables.repository_files, rows)
        if rows:
            advance_version(self._connection, repository)

    @override
    def find_known(
        self, readable: Readable, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, ObjectId | None]:
        return self._find(_KNOWN.where(_is_held(tables.files.c.sha256, readable)), files)

    def _find(
        self, statement: Select[Any, Any], files: Collection[ObjectId]
    ) -> Mapping[ObjectId, ObjectId | None]:
        found: dict[ObjectId, ObjectId | None] = {}
        for batch in batches(files):
            for row in self._connection.execute(statement, {"files": batch}):
                found[ObjectId(row.sha256)] = row.tensor_table
        return found

    @override
    def find_objects(self, objects: Collection[ObjectId]) -> frozenset[ObjectId]:
        return frozenset(self._find_homes(objects))

    @override
    def find_own(
        self, repository: RepositoryId, objects: Collection[ObjectId]
    ) -> frozenset[ObjectId]:
        # Compared here, so that no database begins with all objects of the repository.
        homes = self._find_homes(objects)
        return frozenset(key for key, home in homes.items() if home == repository)

    def _find_homes(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, int | None]:
        found: dict[ObjectId, int | None] = {}
        for batch in batches(objects):
            for row in self._connection.execute(_OBJECTS, {"objects": batch}):
                found[ObjectId(row.sha256)] = row.home_id
        return found

    @override
    def locate_tensors(
        self, readable: Readable, tensors: Collection[ObjectId]
    ) -> Mapping[ObjectId, Sequence[Extent]]:
        statement = _select_tensors(readable)
        places = [
            row
            for batch in batches(tensors)
            for row in self._connection.execute(statement, {"tensors": batch})
        ]
        extents = self.load_extents(None, {row.file_sha256 for row in places})
        return {
            ObjectId(row.sha256): cut_extents(extents[row.file_sha256], row.offset, row.size)
            for row in places
        }

    @override
    def load_extents(
        self, repository: RepositoryId | None, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, Sequence[Extent]]:
        statement = _EXTENTS if repository is None else _EXTENTS_OF_REPOSITORY
        owner = {} if repository is None else {"repository": repository}
        found: dict[ObjectId, list[Extent]] = {}
        for batch in batches(files):
            for row in self._connection.execute(statement, {"files": batch, **owner}):
                extents = found.setdefault(ObjectId(row.sha256), [])
                if row.object_sha256 is not None:
                    extents.append(Extent(ObjectId(row.object_sha256), row.offset, row.size))
        return found


def _write_file(row: FileRow) -> dict[str, Any]:
    return {
        "sha256": row.sha256,
        "size": row.size,
        "tensor_table": row.table,
        "document": row.document,
    }


def _write_extents(files: Sequence[FileRow]) -> list[dict[str, Any]]:
    return [
        {
            "file_sha256": row.sha256,
            "position": position,
            "object_sha256": extent.object,
            "offset": extent.offset,
            "size": extent.size,
        }
        for row in files
        for position, extent in enumerate(row.extents)
    ]


def _write_tensors(files: Sequence[FileRow]) -> list[dict[str, Any]]:
    return [
        {
            "sha256": tensor.sha256,
            "file_sha256": row.sha256,
            "offset": tensor.offset,
            "size": tensor.size,
        }
        for row in files
        for tensor in row.tensors
    ]
