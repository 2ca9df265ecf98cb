"""Pushes under way in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from plait.errors import Internal, NotFound
from plait.model.ids import ObjectId
from plait_registry.adapters.memory.state import MemoryTable, verify_present
from plait_registry.domain.pushes import PushTable
from plait_registry.domain.records import (
    PushId,
    PushRow,
    PushState,
    RepositoryId,
    StagedCommit,
    StagedManifest,
    UploadRow,
)


class MemoryPushTable(MemoryTable, PushTable):
    """Pushes in one transaction."""

    @override
    def insert(self, push: PushRow) -> None:
        if push.id in self._state.pushes:
            raise Internal("internal", f"There is a push {push.id} already.")
        self._draft.pushes[push.id] = push

    @override
    def get(self, repository: RepositoryId, push: PushId) -> PushRow:
        row = self._state.pushes.get(push)
        if row is None or row.repository != repository:
            raise NotFound("push-not-found", f"There is no push {push!r:.80} here.", push=push)
        return row

    @override
    def stage(
        self, push: PushId, commits: Sequence[StagedCommit], manifests: Sequence[StagedManifest]
    ) -> None:
        draft = self._draft
        verify_present(push in draft.pushes, "such push")
        for commit in commits:
            draft.push_commits.setdefault((push, commit.id), commit)
        for manifest in manifests:
            draft.push_manifests.setdefault((push, manifest.id), manifest)

    @override
    def load_staged(self, push: PushId) -> tuple[Sequence[StagedCommit], Sequence[StagedManifest]]:
        commits = [row for (owner, _), row in self._state.push_commits.items() if owner == push]
        manifests = [row for (owner, _), row in self._state.push_manifests.items() if owner == push]
        return commits, sorted(manifests, key=lambda row: row.id)

    @override
    def insert_uploads(self, uploads: Sequence[UploadRow]) -> None:
        for row in uploads:
            self._draft.uploads.setdefault((row.repository, row.file, row.object), row)

    @override
    def find_uploads(
        self, repository: RepositoryId, files: Collection[ObjectId]
    ) -> Sequence[UploadRow]:
        wanted = set(files)
        return [
            row
            for row in self._state.uploads.values()
            if row.repository == repository and row.file in wanted
        ]

    @override
    def forget_uploads(
        self,
        repository: RepositoryId,
        objects: Collection[ObjectId],
        file: ObjectId | None = None,
    ) -> None:
        unwanted = set(objects)
        draft = self._draft
        draft.uploads = {
            key: row
            for key, row in draft.uploads.items()
            if row.repository != repository
            or row.object not in unwanted
            or file not in (None, row.file)
        }

    @override
    def complete(
        self, push: PushId, result: Mapping[str, Any], files: Collection[ObjectId]
    ) -> None:
        draft, unwanted = self._draft, set(files)
        verify_present(push in draft.pushes, "such push")
        row = draft.pushes[push]
        if row.state is PushState.OPEN:
            draft.pushes[push] = replace(row, state=PushState.COMPLETED, result=dict(result))
        draft.push_commits = {k: v for k, v in draft.push_commits.items() if k[0] != push}
        draft.push_manifests = {k: v for k, v in draft.push_manifests.items() if k[0] != push}
        draft.uploads = {
            key: upload
            for key, upload in draft.uploads.items()
            if upload.repository != row.repository or upload.file not in unwanted
        }
