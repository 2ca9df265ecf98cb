"""Commits and notes in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from typing_extensions import override

from plait.model.commit_graph import Node
from plait.model.ids import CommitId
from plait_registry.adapters.memory.state import MemoryTable, verify_present
from plait_registry.domain.ports import CommitTable
from plait_registry.domain.records import CommitRow, NoteRow, RepositoryId


class MemoryCommitTable(MemoryTable, CommitTable):
    """Commits in one transaction."""

    @override
    def insert(self, repository: RepositoryId, commits: Sequence[CommitRow]) -> None:
        draft = self._draft
        for row in commits:
            verify_present(row.manifest in draft.manifests, "such manifest")
            for parent in row.parents:
                verify_present(parent in draft.commits, "such parent")
            draft.commits.setdefault(row.id, row)
            draft.repository_commits[repository, row.id] = None
        if commits:
            draft.advance(repository)

    @override
    def load(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, CommitRow]:
        held = self._state.repository_commits
        return {
            commit: self._state.commits[commit]
            for commit in commits
            if (repository, commit) in held
        }

    @override
    def load_ancestry(
        self, repository: RepositoryId, commits: Collection[CommitId], depth: int
    ) -> Mapping[CommitId, Node]:
        starts = self.load(repository, commits)
        floor = max((row.generation for row in starts.values()), default=0) - depth
        found: dict[CommitId, Node] = {}
        pending = list(starts)
        while pending:
            row = self._state.commits[pending.pop()]
            if row.id not in found:
                found[row.id] = Node(row.id, row.parents, row.generation, row.time)
                pending.extend(row.parents if row.generation > floor else ())
        return found

    @override
    def find_by_prefix(self, repository: RepositoryId, prefix: str) -> Sequence[CommitId]:
        return sorted(
            commit
            for owner, commit in self._state.repository_commits
            if owner == repository and commit.startswith(prefix)
        )[:2]

    @override
    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        row = self._state.commits.get(commit)
        for _ in range(generations):
            if row is None or not row.parents:
                return None
            row = self._state.commits[row.parents[0]]
        return None if row is None else row.id

    @override
    def insert_notes(self, repository: RepositoryId, notes: Sequence[NoteRow]) -> None:
        draft = self._draft
        for note in notes:
            verify_present((repository, note.commit) in draft.repository_commits, "such commit")
            draft.notes[1 + max(draft.notes, default=0)] = repository, note

    @override
    def load_notes(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, Sequence[NoteRow]]:
        wanted = set(commits)
        found: dict[CommitId, list[NoteRow]] = {}
        for owner, note in self._state.notes.values():
            if owner == repository and note.commit in wanted:
                found.setdefault(note.commit, []).append(note)
        return found
