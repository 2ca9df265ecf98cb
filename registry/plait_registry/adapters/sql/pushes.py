"""Pushes under way: what they want, what they staged, what they announced to upload."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from typing_extensions import override

from plait.errors import NotFound
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.refs import RefKind, RefName, RefUpdate
from plait_registry.adapters.sql.dialect import batches, insert_new
from plait_registry.adapters.sql.tables import push_commits, push_manifests, pushes, uploads
from plait_registry.domain.pushes import PushTable
from plait_registry.domain.records import (
    NoteRow,
    PushId,
    PushRow,
    PushState,
    RepositoryId,
    StagedCommit,
    StagedManifest,
    UploadRow,
)


class SqlPushTable(PushTable):
    """Pushes in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, push: PushRow) -> None:
        self._connection.execute(insert(pushes), _write_push(push))

    @override
    def get(self, repository: RepositoryId, push: PushId) -> PushRow:
        row = self._connection.execute(
            select(pushes).where(pushes.c.id == push, pushes.c.repository_id == repository)
        ).one_or_none()
        if row is None:
            raise NotFound(
                "push-not-found",
                f"There is no push {push!r:.80} of this repository: begin a new one.",
                push=push,
            )
        return read_push(row)

    @override
    def stage(
        self, push: PushId, commits: Sequence[StagedCommit], manifests: Sequence[StagedManifest]
    ) -> None:
        insert_new(
            self._connection,
            push_commits,
            [{"push_id": push, "commit_id": item.id, "body": item.body} for item in commits],
        )
        insert_new(
            self._connection,
            push_manifests,
            [{"push_id": push, "manifest_id": item.id, "body": item.body} for item in manifests],
        )

    @override
    def load_staged(self, push: PushId) -> tuple[Sequence[StagedCommit], Sequence[StagedManifest]]:
        commits = self._connection.execute(
            select(push_commits).where(push_commits.c.push_id == push).order_by(push_commits.c.id)
        )
        manifests = self._connection.execute(
            select(push_manifests)
            .where(push_manifests.c.push_id == push)
            .order_by(push_manifests.c.manifest_id)
        )
        return (
            [StagedCommit(CommitId(row.commit_id), row.body) for row in commits],
            [StagedManifest(ManifestId(row.manifest_id), row.body) for row in manifests],
        )

    @override
    def insert_uploads(self, uploads: Sequence[UploadRow]) -> None:
        insert_uploads(self._connection, uploads)

    @override
    def find_uploads(
        self, repository: RepositoryId, files: Collection[ObjectId]
    ) -> Sequence[UploadRow]:
        rows = [
            row
            for batch in batches(files)
            for row in self._connection.execute(
                select(uploads).where(
                    uploads.c.repository_id == repository, uploads.c.file_sha256.in_(batch)
                )
            )
        ]
        return [read_upload(row) for row in sorted(rows, key=lambda row: row.id)]

    @override
    def forget_uploads(
        self,
        repository: RepositoryId,
        objects: Collection[ObjectId],
        file: ObjectId | None = None,
    ) -> None:
        for batch in batches(objects):
            statement = delete(uploads).where(
                uploads.c.repository_id == repository, uploads.c.object_sha256.in_(batch)
            )
            if file is not None:
                statement = statement.where(uploads.c.file_sha256 == file)
            self._connection.execute(statement)

    @override
    def complete(
        self, push: PushId, result: Mapping[str, Any], files: Collection[ObjectId]
    ) -> None:
        owner = self._connection.execute(
            select(pushes.c.repository_id).where(pushes.c.id == push)
        ).scalar_one()
        # A push that two clients complete at once keeps the first answer.
        self._connection.execute(
            update(pushes)
            .where(pushes.c.id == push, pushes.c.state == PushState.OPEN.value)
            .values(state=PushState.COMPLETED.value, result=dict(result))
        )
        self._connection.execute(delete(push_commits).where(push_commits.c.push_id == push))
        self._connection.execute(delete(push_manifests).where(push_manifests.c.push_id == push))
        for batch in batches(files):
            self._connection.execute(
                delete(uploads).where(
                    uploads.c.repository_id == owner, uploads.c.file_sha256.in_(batch)
                )
            )


def insert_uploads(connection: Connection, rows: Sequence[UploadRow]) -> None:
    """Insert those uploads that are new, in order."""
    insert_new(connection, uploads, [_write_upload(row) for row in rows])


def _write_push(push: PushRow) -> dict[str, Any]:
    return {
        "id": push.id,
        "repository_id": push.repository,
        "ref_kind": push.update.kind.value,
        "ref_name": push.update.name,
        "expected": push.update.expected,
        "new": push.update.new,
        "force": push.update.force,
        "notes": [
            {
                "commit": note.commit,
                "kind": note.kind,
                "body": dict(note.body),
                "created_at": note.created_at,
            }
            for note in push.notes
        ],
        "allow_non_finite": push.allow_non_finite,
        "created_at": push.created_at,
        "state": push.state.value,
        "result": None if push.result is None else dict(push.result),
    }


def read_push(row: Row[Any]) -> PushRow:
    """Return the push of a row."""
    return PushRow(
        id=PushId(row.id),
        repository=RepositoryId(row.repository_id),
        update=RefUpdate(
            kind=RefKind(row.ref_kind),
            name=RefName(row.ref_name),
            expected=None if row.expected is None else CommitId(row.expected),
            new=CommitId(row.new),
            force=row.force,
        ),
        notes=tuple(NoteRow(**note) for note in row.notes),
        allow_non_finite=row.allow_non_finite,
        created_at=row.created_at,
        state=PushState(row.state),
        result=row.result,
    )


def _write_upload(row: UploadRow) -> dict[str, Any]:
    return {
        "repository_id": row.repository,
        "file_sha256": row.file,
        "object_sha256": row.object,
        "size": row.size,
        "ranges": [list(span) for span in row.ranges],
        "handle": row.handle,
    }


def read_upload(row: Row[Any]) -> UploadRow:
    """Return the announced object of a row."""
    return UploadRow(
        repository=RepositoryId(row.repository_id),
        file=ObjectId(row.file_sha256),
        ranges=tuple((begin, end) for begin, end in row.ranges),
        object=ObjectId(row.object_sha256),
        size=row.size,
        handle=row.handle,
    )
