"""Expected digests, validations, attestations and validators' keys in memory."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from plait.model.ids import CommitId, ObjectId
from plait_registry.adapters.memory.state import MemoryTable, State, verify_present
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.validations import (
    AttestationRow,
    AttestationTable,
    ExpectedRow,
    ExpectedTable,
    KeyId,
    MergeKey,
    ValidationRow,
    ValidationTable,
    ValidationTally,
    ValidatorKey,
    ValidatorKeyTable,
    key_exists,
    missing_key,
)


class MemoryExpectedTable(MemoryTable, ExpectedTable):
    """Expected digests in one transaction."""

    @override
    def list(self, repository: RepositoryId, commit: CommitId) -> Sequence[ExpectedRow]:
        return [
            row
            for (owner, _), row in self._state.expected.items()
            if owner == repository and row.commit == commit
        ]

    @override
    def list_roots(self, repository: RepositoryId, commit: CommitId) -> Mapping[MergeKey, ObjectId]:
        return {row.key: row.digests.root for row in self.list(repository, commit)}

    @override
    def insert(self, repository: RepositoryId, row: ExpectedRow) -> None:
        draft = self._draft
        _verify_commit(draft, repository, row.commit)
        verify_present(row.key not in self.list_roots(repository, row.commit), "second of a kind")
        draft.expected[repository, _next_number(draft.expected)] = row


class MemoryValidationTable(MemoryTable, ValidationTable):
    """Validations in one transaction."""

    @override
    def insert(self, repository: RepositoryId, row: ValidationRow) -> ValidationRow:
        draft = self._draft
        _verify_commit(draft, repository, row.commit)
        is_new = self.find(repository, row.commit, row.id) is None
        verify_present(is_new and not self._came_from(repository, row.job), "second of a kind")
        number = _next_number(draft.validations)
        draft.validations[repository, number] = replace(row, number=number)
        return draft.validations[repository, number]

    @override
    def find(
        self, repository: RepositoryId, commit: CommitId, validation: ObjectId
    ) -> ValidationRow | None:
        found = self._of(repository, commit)
        return next((row for row in found if row.id == validation), None)

    @override
    def find_by_job(self, repository: RepositoryId, job: str) -> ValidationRow | None:
        return next(iter(self._came_from(repository, job)), None)

    @override
    def search(
        self, repository: RepositoryId, commit: CommitId, *, before: int | None, limit: int
    ) -> Sequence[ValidationRow]:
        found = [
            row for row in self._of(repository, commit) if before is None or row.number < before
        ]
        return sorted(found, key=lambda row: -row.number)[:limit]

    @override
    def measure(self, repository: RepositoryId, commit: CommitId) -> ValidationTally:
        sizes = [len(row.body) for row in self._of(repository, commit)]
        return ValidationTally(len(sizes), sum(sizes))

    def _of(self, repository: RepositoryId, commit: CommitId) -> list[ValidationRow]:
        return [
            row
            for (owner, _), row in self._state.validations.items()
            if owner == repository and row.commit == commit
        ]

    def _came_from(self, repository: RepositoryId, job: str | None) -> list[ValidationRow]:
        return [
            row
            for (owner, _), row in self._state.validations.items()
            if owner == repository and job is not None and row.job == job
        ]


class MemoryAttestationTable(MemoryTable, AttestationTable):
    """Attestations in one transaction."""

    @override
    def insert(self, repository: RepositoryId, row: AttestationRow) -> None:
        draft = self._draft
        _verify_commit(draft, repository, row.commit)
        is_new = all(row.id != other.id for other in self.list(repository, row.commit))
        verify_present(is_new, "second of a kind")
        draft.attestations[repository, _next_number(draft.attestations)] = row

    @override
    def list(self, repository: RepositoryId, commit: CommitId) -> Sequence[AttestationRow]:
        return [
            row
            for (owner, _), row in self._state.attestations.items()
            if owner == repository and row.commit == commit
        ]


class MemoryValidatorKeyTable(MemoryTable, ValidatorKeyTable):
    """Validators' keys in one transaction."""

    @override
    def insert(self, key: ValidatorKey) -> None:
        if key.keyid in self._draft.validator_keys:
            raise key_exists(key.keyid)
        self._draft.validator_keys[key.keyid] = key

    @override
    def get(self, keyid: KeyId) -> ValidatorKey:
        if keyid not in self._state.validator_keys:
            raise missing_key(keyid)
        return self._state.validator_keys[keyid]

    @override
    def list(self) -> builtins.list[ValidatorKey]:
        return list(self._state.validator_keys.values())

    @override
    def revoke(self, keyid: KeyId, at: str) -> None:
        key = self._state.validator_keys.get(keyid)
        if key is not None and key.revoked_at is None:
            self._draft.validator_keys[keyid] = replace(key, revoked_at=at)


def _verify_commit(state: State, repository: RepositoryId, commit: CommitId) -> None:
    verify_present((repository, commit) in state.repository_commits, "such commit")


def _next_number(rows: Iterable[tuple[RepositoryId, int]]) -> int:
    return 1 + max((number for _, number in rows), default=0)
