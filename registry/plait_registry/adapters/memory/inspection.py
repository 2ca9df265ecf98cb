"""All rows, a part at a time, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from plait.model.ids import CommitId, ManifestId, ObjectId
from plait_registry.adapters.memory.state import MemoryTable
from plait_registry.domain.inspection import DocumentKind, InspectionTable
from plait_registry.domain.records import CommitRow, FileRow, RepositoryId


class MemoryInspectionTable(MemoryTable, InspectionTable):
    """All rows, in one transaction."""

    @override
    def list_objects(self, prefix: str) -> Mapping[ObjectId, int]:
        rows = self._state.objects.values()
        return {row.sha256: row.size for row in rows if row.sha256.startswith(prefix)}

    @override
    def list_documents(self, prefix: str) -> Mapping[ObjectId, DocumentKind]:
        state = self._state
        documents = [row.document for row in state.files.values() if row.document is not None]
        named: tuple[tuple[DocumentKind, Iterable[str]], ...] = (
            (DocumentKind.COMMIT, state.commits),
            (DocumentKind.MANIFEST, state.manifests),
            (DocumentKind.EXTENTS, documents),
        )
        return {
            ObjectId(key): kind for kind, keys in named for key in keys if key.startswith(prefix)
        }

    @override
    def find_sizes(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, int]:
        rows = self._state.objects
        return {item: rows[item].size for item in objects if item in rows}

    @override
    def page_files(self, after: str, limit: int) -> Sequence[FileRow]:
        keys = sorted(key for key in self._state.files if key > after)[:limit]
        return [replace(self._state.files[key], tensors=()) for key in keys]

    @override
    def page_commits(self, after: str, limit: int) -> Sequence[CommitRow]:
        keys = sorted(key for key in self._state.commits if key > after)[:limit]
        return [self._state.commits[key] for key in keys]

    @override
    def page_manifests(self, after: str, limit: int) -> Sequence[tuple[ManifestId, bytes]]:
        keys = sorted(key for key in self._state.manifests if key > after)[:limit]
        return [(key, self._state.manifests[key]) for key in keys]

    @override
    def find_places(self, commits: Collection[CommitId]) -> Mapping[CommitId, tuple[int, int]]:
        rows = self._state.commits
        return {key: (rows[key].generation, rows[key].depth) for key in commits if key in rows}

    @override
    def find_documented(self, documents: Collection[ObjectId]) -> Sequence[ObjectId]:
        rows = self._state.files.values()
        return [row.sha256 for row in rows if row.document in set(documents)]

    @override
    def find_users(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, Sequence[ObjectId]]:
        found: dict[ObjectId, list[ObjectId]] = {}
        for key, row in sorted(self._state.files.items()):
            for item in {extent.object for extent in row.extents} & set(objects):
                found.setdefault(item, []).append(key)
        return found

    @override
    def find_holders(
        self, kind: DocumentKind, ids: Collection[str]
    ) -> Mapping[str, Sequence[RepositoryId]]:
        state, wanted = self._state, set(ids)
        pairs: Iterable[tuple[RepositoryId, str]] = state.repository_commits
        if kind is DocumentKind.EXTENTS:
            pairs = state.repository_files
        if kind is DocumentKind.MANIFEST:
            pairs = {
                (owner, state.commits[commit].manifest)
                for owner, commit in state.repository_commits
            }
        found: dict[str, list[RepositoryId]] = {}
        for owner, key in pairs:
            if key in wanted:
                found.setdefault(key, []).append(owner)
        return found
