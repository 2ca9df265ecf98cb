"""Manifests, files, objects and tensors in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from plait.model.ids import ManifestId, ObjectId
from plait_registry.adapters.memory.state import MemoryTable, verify_present
from plait_registry.domain.access import Readable
from plait_registry.domain.extents import cut_extents
from plait_registry.domain.ports import FileTable
from plait_registry.domain.records import Extent, FileRow, ObjectRow, RepositoryId


class MemoryFileTable(MemoryTable, FileTable):
    """Files in one transaction."""

    @override
    def insert_manifests(self, manifests: Mapping[ManifestId, bytes]) -> None:
        for key, body in manifests.items():
            self._draft.manifests.setdefault(key, body)

    @override
    def load_manifests(
        self, repository: RepositoryId, manifests: Collection[ManifestId]
    ) -> Mapping[ManifestId, bytes]:
        named = {
            self._state.commits[commit].manifest
            for owner, commit in self._state.repository_commits
            if owner == repository
        }
        return {key: self._state.manifests[key] for key in manifests if key in named}

    @override
    def insert(
        self, repository: RepositoryId, files: Sequence[FileRow], objects: Sequence[ObjectRow]
    ) -> None:
        draft = self._draft
        for item in objects:
            draft.objects.setdefault(item.sha256, item)
        for row in files:
            known = draft.files.get(row.sha256)
            if known is None:
                for extent in row.extents:
                    verify_present(extent.object in draft.objects, "such object")
                draft.files[row.sha256] = row
            elif known.table is None:
                draft.files[row.sha256] = replace(known, table=row.table, tensors=row.tensors)
        self.link(repository, [row.sha256 for row in files])

    @override
    def link(self, repository: RepositoryId, files: Collection[ObjectId]) -> None:
        draft = self._draft
        for file in files:
            verify_present(file in draft.files, "such file")
            draft.repository_files[repository, file] = None
        if files:
            draft.advance(repository)

    @override
    def find_known(
        self, readable: Readable, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, ObjectId | None]:
        held = self._find_held(readable)
        return {file: self._state.files[file].table for file in files if file in held}

    @override
    def find_objects(self, objects: Collection[ObjectId]) -> frozenset[ObjectId]:
        return frozenset(item for item in objects if item in self._state.objects)

    @override
    def find_own(
        self, repository: RepositoryId, objects: Collection[ObjectId]
    ) -> frozenset[ObjectId]:
        found = self.find_objects(objects)
        return frozenset(item for item in found if self._state.objects[item].home == repository)

    @override
    def locate_tensors(
        self, readable: Readable, tensors: Collection[ObjectId]
    ) -> Mapping[ObjectId, Sequence[Extent]]:
        wanted, held = set(tensors), self._find_held(readable)
        return {
            tensor.sha256: cut_extents(file.extents, tensor.offset, tensor.size)
            for file in self._state.files.values()
            if file.sha256 in held
            for tensor in file.tensors
            if tensor.sha256 in wanted
        }

    def _find_held(self, readable: Readable) -> set[ObjectId]:
        """Return the files that readable repositories hold."""
        repositories = {
            record.id
            for record in self._state.repositories.values()
            if readable.includes(record.name, private=record.private)
        }
        return {file for owner, file in self._state.repository_files if owner in repositories}

    @override
    def load_extents(
        self, repository: RepositoryId | None, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, Sequence[Extent]]:
        return {
            file: self._state.files[file].extents
            for file in files
            if file in self._state.files
            and (repository is None or (repository, file) in self._state.repository_files)
        }
