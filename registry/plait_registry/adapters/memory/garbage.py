"""Marks, condemned objects, and rows that nothing holds, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from plait.model.ids import CommitId, ManifestId, ObjectId
from plait_registry.adapters.memory.state import MemoryTable, State
from plait_registry.domain.garbage import (
    CondemnedTable,
    HeldCommit,
    HeldTable,
    KeptRepository,
    MarkKind,
    MarkTable,
    RemainsTable,
    RowKind,
)
from plait_registry.domain.records import PushId, PushRow, RepositoryId, UploadRow


class MemoryHeldTable(MemoryTable, HeldTable):
    """What repositories hold, in one transaction."""

    @override
    def list_repositories(self) -> Sequence[KeptRepository]:
        namespaces = self._state.namespaces
        found = []
        for _, row in sorted(self._state.repositories.items()):
            namespace = namespaces.get(row.name.namespace.lower())
            days = None if namespace is None else namespace.keep_untagged_days
            found.append(KeptRepository(row.id, row.name, days))
        return found

    @override
    def read_version(self, repository: RepositoryId) -> int:
        return self._state.versions.get(self._state.key_of(repository), 0)

    @override
    def raise_version(self, repository: RepositoryId, version: int) -> None:
        draft = self._draft
        draft.advance(repository)
        key = draft.key_of(repository)
        draft.versions[key] = max(draft.versions[key], version)

    @override
    def load_commits(self, repository: RepositoryId) -> Sequence[HeldCommit]:
        found = []
        for owner, commit in self._state.repository_commits:
            if owner == repository:
                row = self._state.commits[commit]
                since = self._state.dated.get((owner, commit))
                found.append(HeldCommit(row.id, row.parents, row.generation, row.manifest, since))
        return found

    @override
    def load_files(self, repository: RepositoryId) -> Mapping[ObjectId, int]:
        held = (file for owner, file in self._state.repository_files if owner == repository)
        return {file: self._state.files[file].size for file in held}

    @override
    def date_commits(self, repository: RepositoryId, now: str) -> None:
        draft = self._draft
        for key in draft.repository_commits:
            if key[0] == repository:
                draft.dated.setdefault(key, now)

    @override
    def unlink_commits(self, repository: RepositoryId, commits: Collection[CommitId]) -> None:
        draft, goes = self._draft, set(commits)
        draft.notes = {
            key: (owner, note)
            for key, (owner, note) in draft.notes.items()
            if owner != repository or note.commit not in goes
        }
        draft.drop_validations(lambda owner, commit: owner == repository and commit in goes)
        for commit in goes:
            draft.repository_commits.pop((repository, commit), None)
            draft.dated.pop((repository, commit), None)

    @override
    def unlink_files(self, repository: RepositoryId, files: Collection[ObjectId]) -> None:
        draft = self._draft
        for file in files:
            draft.repository_files.pop((repository, file), None)

    @override
    def expire_files(self, repository: RepositoryId, files: Collection[ObjectId], now: str) -> None:
        draft = self._draft
        for file in files:
            draft.expired.setdefault((repository, file), now)

    @override
    def find_expired(
        self, repository: RepositoryId, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, str]:
        state = self._state
        keys = [(repository, file) for file in files]
        return {
            key[1]: state.expired[key]
            for key in keys
            if key in state.expired and key not in state.repository_files
        }


class MemoryMarkTable(MemoryTable, MarkTable):
    """Marks in one transaction."""

    @override
    def load(self, kind: MarkKind, repository: RepositoryId) -> Mapping[str, str]:
        return {
            key[2]: since
            for key, since in self._state.marks.items()
            if key[:2] == (kind, repository)
        }

    @override
    def find(
        self, kind: MarkKind, repository: RepositoryId, ids: Collection[str]
    ) -> Mapping[str, str]:
        marks = self._state.marks
        keys = [(kind, repository, item) for item in ids]
        return {key[2]: marks[key] for key in keys if key in marks}

    @override
    def insert(
        self, kind: MarkKind, repository: RepositoryId, ids: Collection[str], now: str
    ) -> None:
        draft = self._draft
        for item in ids:
            draft.marks.setdefault((kind, repository, item), now)

    @override
    def remove(self, kind: MarkKind, repository: RepositoryId, ids: Collection[str]) -> None:
        draft = self._draft
        for item in ids:
            draft.marks.pop((kind, repository, item), None)


class MemoryCondemnedTable(MemoryTable, CondemnedTable):
    """Condemned objects in one transaction."""

    @override
    def find(self, objects: Collection[ObjectId]) -> Mapping[ObjectId, str]:
        condemned = self._state.condemned
        return {item: condemned[item] for item in objects if item in condemned}

    @override
    def list(self) -> Mapping[ObjectId, str]:
        return dict(self._state.condemned)

    @override
    def put(self, objects: Collection[ObjectId], now: str) -> None:
        self._draft.condemned.update(dict.fromkeys(objects, now))

    @override
    def remove(self, objects: Collection[ObjectId]) -> None:
        draft = self._draft
        for item in objects:
            draft.condemned.pop(item, None)

    @override
    def reserve(self, push: str, documents: Collection[ObjectId]) -> None:
        self._draft.push_documents.update(dict.fromkeys((push, item) for item in documents))

    @override
    def release(self, pushes: Collection[str]) -> None:
        draft, goes = self._draft, set(pushes)
        draft.push_documents = {key: None for key in draft.push_documents if key[0] not in goes}

    @override
    def hold(self, name: str, until: str | None) -> None:
        if until is None:
            self._draft.holds.pop(name, None)
        else:
            self._draft.holds[name] = until

    @override
    def is_held(self, now: str) -> bool:
        return any(until >= now for until in self._state.holds.values())


class MemoryRemainsTable(MemoryTable, RemainsTable):
    """What nothing holds, in one transaction."""

    @override
    def list_unheld(self, kind: RowKind) -> Sequence[str]:
        state = self._state
        if kind is RowKind.COMMIT:
            rows = [row for row in state.commits.values() if row.id not in _holders(state, kind)]
            return [row.id for row in sorted(rows, key=lambda row: -row.generation)]
        all_rows = state.manifests if kind is RowKind.MANIFEST else state.files
        return [key for key in all_rows if key not in _holders(state, kind)]

    @override
    def drop_unheld(self, kind: RowKind, ids: Collection[str]) -> int:
        draft = self._draft
        goes = set(ids) - _holders(draft, kind)
        for key in goes:
            if kind is RowKind.COMMIT:
                draft.commits.pop(CommitId(key), None)
                draft.bases.pop(CommitId(key), None)
            elif kind is RowKind.MANIFEST:
                draft.manifests.pop(ManifestId(key), None)
            else:
                draft.files.pop(ObjectId(key), None)
        return len(goes)

    @override
    def list_undocumented(self, limit: int) -> Sequence[ObjectId]:
        files = self._state.files.values()
        return [row.sha256 for row in files if row.document is None][:limit]

    @override
    def name_documents(self, documents: Mapping[ObjectId, ObjectId]) -> None:
        draft = self._draft
        for file, document in documents.items():
            draft.files[file] = replace(draft.files[file], document=document)

    @override
    def find_needed(self, objects: Collection[ObjectId]) -> frozenset[ObjectId]:
        return frozenset(set(objects) & _needed(self._state))

    @override
    def list_loose(self) -> Sequence[ObjectId]:
        files = self._state.files.values()
        used = {extent.object for row in files for extent in row.extents}
        return [item for item in self._state.objects if item not in used]

    @override
    def drop_objects(self, objects: Collection[ObjectId]) -> None:
        draft = self._draft
        for item in objects:
            draft.objects.pop(item, None)

    @override
    def list_pushes(self, repository: RepositoryId | None = None) -> Sequence[PushRow]:
        rows = self._state.pushes.values()
        chosen = [row for row in rows if repository in (None, row.repository)]
        return sorted(chosen, key=lambda row: (row.created_at, row.id))

    @override
    def drop_pushes(self, pushes: Collection[str]) -> None:
        draft, goes = self._draft, set(pushes)
        for push in goes:
            draft.pushes.pop(PushId(push), None)
        draft.push_commits = {k: v for k, v in draft.push_commits.items() if k[0] not in goes}
        draft.push_manifests = {k: v for k, v in draft.push_manifests.items() if k[0] not in goes}
        draft.push_documents = {k: v for k, v in draft.push_documents.items() if k[0] not in goes}

    @override
    def list_uploads(self) -> Sequence[UploadRow]:
        return list(self._state.uploads.values())

    @override
    def drop_upload(self, upload: UploadRow) -> None:
        key = (upload.repository, upload.file, upload.object)
        if self._state.uploads.get(key) == upload:
            del self._draft.uploads[key]


def _holders(state: State, kind: RowKind) -> set[str]:
    """Return the ids of what is held."""
    if kind is RowKind.COMMIT:
        return {commit for _, commit in state.repository_commits}
    if kind is RowKind.MANIFEST:
        return {row.manifest for row in state.commits.values()}
    return {file for _, file in state.repository_files}


def _needed(state: State) -> set[ObjectId]:
    """Return every object that something names."""
    needed = {extent.object for row in state.files.values() for extent in row.extents}
    needed |= {row.document for row in state.files.values() if row.document is not None}
    needed |= {row.object for row in state.uploads.values()}
    for keys in (state.commits, state.manifests):
        needed |= {ObjectId(key) for key in keys}
    for pairs in (state.push_commits, state.push_manifests, state.push_documents):
        needed |= {ObjectId(pair[1]) for pair in pairs}
    return needed
