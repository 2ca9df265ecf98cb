"""All rows, a part at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Column, Connection, select
from typing_extensions import override

from plait.model.ids import CommitId, ManifestId, ObjectId
from plait_registry.adapters.sql.commits import read_commit
from plait_registry.adapters.sql.dialect import batches
from plait_registry.adapters.sql.tables import (
    commit_parents,
    commits,
    file_extents,
    files,
    manifests,
    objects,
    repository_commits,
    repository_files,
)
from plait_registry.domain.inspection import DocumentKind, InspectionTable
from plait_registry.domain.records import CommitRow, Extent, FileRow, RepositoryId

_AFTER_HEX = "g"
"""The character after the last hexadecimal digit, which ends the range of a prefix."""

_DOCUMENTS: tuple[tuple[DocumentKind, Column[Any]], ...] = (
    (DocumentKind.COMMIT, commits.c.id),
    (DocumentKind.MANIFEST, manifests.c.id),
    (DocumentKind.EXTENTS, files.c.document),
)
_HOLDERS: dict[DocumentKind, Any] = {
    DocumentKind.COMMIT: select(
        repository_commits.c.commit_id.label("id"), repository_commits.c.repository_id
    ),
    DocumentKind.MANIFEST: select(
        commits.c.manifest_id.label("id"), repository_commits.c.repository_id
    ).join_from(commits, repository_commits, repository_commits.c.commit_id == commits.c.id),
    DocumentKind.EXTENTS: select(
        repository_files.c.file_sha256.label("id"), repository_files.c.repository_id
    ),
}
_HOLDER_KEYS: dict[DocumentKind, Column[Any]] = {
    DocumentKind.COMMIT: repository_commits.c.commit_id,
    DocumentKind.MANIFEST: commits.c.manifest_id,
    DocumentKind.EXTENTS: repository_files.c.file_sha256,
}


class SqlInspectionTable(InspectionTable):
    """All rows, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def list_objects(self, prefix: str) -> Mapping[ObjectId, int]:
        key = objects.c.sha256
        rows = self._connection.execute(select(objects).where(*_begins(key, prefix)))
        return {ObjectId(row.sha256): row.size for row in rows}

    @override
    def list_documents(self, prefix: str) -> Mapping[ObjectId, DocumentKind]:
        found: dict[ObjectId, DocumentKind] = {}
        for kind, key in _DOCUMENTS:
            rows = self._connection.execute(select(key).where(*_begins(key, prefix)))
            found.update(dict.fromkeys(map(ObjectId, rows.scalars()), kind))
        return found

    @override
    def find_sizes(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, int]:
        found: dict[ObjectId, int] = {}
        for batch in batches(objects):
            rows = self._connection.execute(select(_OBJECTS).where(_OBJECTS.c.sha256.in_(batch)))
            found.update({ObjectId(row.sha256): row.size for row in rows})
        return found

    @override
    def page_files(self, after: str, limit: int) -> Sequence[FileRow]:
        page = select(files).where(files.c.sha256 > after).order_by(files.c.sha256).limit(limit)
        rows = self._connection.execute(page).all()
        extents: dict[str, list[Extent]] = {row.sha256: [] for row in rows}
        for batch in batches(list(extents)):
            found = self._connection.execute(
                select(file_extents)
                .where(file_extents.c.file_sha256.in_(batch))
                .order_by(file_extents.c.file_sha256, file_extents.c.position)
            )
            for row in found:
                extent = Extent(ObjectId(row.object_sha256), row.offset, row.size)
                extents[row.file_sha256].append(extent)
        return [
            FileRow(
                sha256=ObjectId(row.sha256),
                size=row.size,
                extents=tuple(extents[row.sha256]),
                table=row.tensor_table,
                tensors=(),
                document=row.document,
            )
            for row in rows
        ]

    @override
    def page_commits(self, after: str, limit: int) -> Sequence[CommitRow]:
        page = (
            select(commits)
            .where(commits.c.id > after)
            .order_by(commits.c.id)
            .limit(limit)
            .subquery("page")
        )
        rows = self._connection.execute(
            select(page, commit_parents.c.parent)
            .select_from(page.outerjoin(commit_parents, commit_parents.c.commit_id == page.c.id))
            .order_by(page.c.id, commit_parents.c.position)
        )
        return [read_commit(list(group)) for _, group in groupby(rows, key=attrgetter("id"))]

    @override
    def page_manifests(self, after: str, limit: int) -> Sequence[tuple[ManifestId, bytes]]:
        page = select(manifests).where(manifests.c.id > after).order_by(manifests.c.id)
        rows = self._connection.execute(page.limit(limit))
        return [(ManifestId(row.id), row.body) for row in rows]

    @override
    def find_places(self, commits: Collection[CommitId]) -> Mapping[CommitId, tuple[int, int]]:
        found: dict[CommitId, tuple[int, int]] = {}
        for batch in batches(commits):
            rows = self._connection.execute(
                select(_COMMITS.c.id, _COMMITS.c.generation, _COMMITS.c.depth).where(
                    _COMMITS.c.id.in_(batch)
                )
            )
            found.update({CommitId(row.id): (row.generation, row.depth) for row in rows})
        return found

    @override
    def find_documented(self, documents: Collection[ObjectId]) -> Sequence[ObjectId]:
        found: list[ObjectId] = []
        for batch in batches(documents):
            statement = select(files.c.sha256).where(files.c.document.in_(batch))
            found.extend(map(ObjectId, self._connection.execute(statement).scalars()))
        return found

    @override
    def find_users(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, Sequence[ObjectId]]:
        found: dict[ObjectId, list[ObjectId]] = {}
        for batch in batches(objects):
            rows = self._connection.execute(
                select(file_extents.c.object_sha256, file_extents.c.file_sha256)
                .where(file_extents.c.object_sha256.in_(batch))
                .distinct()
                .order_by(file_extents.c.file_sha256)
            )
            for row in rows:
                users = found.setdefault(ObjectId(row.object_sha256), [])
                users.append(ObjectId(row.file_sha256))
        return found

    @override
    def find_holders(
        self, kind: DocumentKind, ids: Collection[str]
    ) -> Mapping[str, Sequence[RepositoryId]]:
        found: dict[str, list[RepositoryId]] = {}
        for batch in batches(ids):
            statement = _HOLDERS[kind].where(_HOLDER_KEYS[kind].in_(batch)).distinct()
            for row in self._connection.execute(statement):
                found.setdefault(row.id, []).append(RepositoryId(row.repository_id))
        return found


_OBJECTS = objects
_COMMITS = commits


def _begins(key: Column[Any], prefix: str) -> tuple[Any, Any]:
    return (key >= prefix, key < prefix + _AFTER_HEX)
