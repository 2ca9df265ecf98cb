"""Repositories and refs in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.model.refs import DEFAULT_BRANCH, Ref, RefKind, RefName, RefUpdate
from plait_registry.adapters.memory.state import MemoryTable, verify_present
from plait_registry.domain.policy import missing_repository, repository_exists
from plait_registry.domain.ports import RefTable, RepositoryTable
from plait_registry.domain.records import (
    NewRepository,
    RepositoryId,
    RepositoryQuery,
    RepositoryRecord,
)
from plait_registry.domain.ref_update import plan_deletion, plan_update
from plait_registry.domain.validation_wish import ValidationTrigger


class MemoryRepositoryTable(MemoryTable, RepositoryTable):
    """Repositories in one transaction."""

    @override
    def insert(self, new: NewRepository) -> RepositoryRecord:
        draft = self._draft
        taken = draft.repositories.get(new.name.key)
        if taken is not None:
            raise repository_exists(taken.name)
        record = RepositoryRecord(
            id=RepositoryId(1 + max((row.id for row in draft.repositories.values()), default=0)),
            name=new.name,
            description=new.description,
            private=new.private,
            salt=new.salt,
            default_branch=DEFAULT_BRANCH,
            created_at=new.created_at,
            head=None,
            adapter_type=None,
            base=None,
            kind=new.kind,
        )
        draft.repositories[new.name.key] = record
        draft.advance(record.id)
        return record

    @override
    def get(self, name: RepositoryName) -> RepositoryRecord:
        record = self._state.repositories.get(name.key)
        if record is None:
            raise missing_repository(name)
        return self._with_head(record)

    @override
    def search(self, query: RepositoryQuery) -> Sequence[RepositoryRecord]:
        records = [
            self._with_head(record) for _, record in sorted(self._state.repositories.items())
        ]
        return [record for record in records if _matches(record, query)][: query.limit]

    @override
    def update(
        self,
        repository: RepositoryId,
        *,
        description: str,
        private: bool,
        validate_on: ValidationTrigger = ValidationTrigger.NONE,
    ) -> None:
        draft = self._draft
        for key, record in draft.repositories.items():
            if record.id == repository:
                draft.repositories[key] = replace(
                    record, description=description, private=private, validate_on=validate_on
                )
                draft.advance(repository)
                return

    @override
    def delete(self, repository: RepositoryId) -> None:
        self._draft.advance(repository)
        self._draft.drop_repository(repository)

    def _with_head(self, record: RepositoryRecord) -> RepositoryRecord:
        ref = self._state.refs.get((record.id, record.default_branch))
        if ref is None or ref.kind is not RefKind.BRANCH:
            return record
        head = self._state.commits[ref.target]
        return replace(record, head=head.id, adapter_type=head.adapter_type, base=head.base)


class MemoryRefTable(MemoryTable, RefTable):
    """Refs in one transaction."""

    @override
    def find(self, repository: RepositoryId, name: RefName) -> Ref | None:
        return self._state.refs.get((repository, name))

    @override
    def list(self, repository: RepositoryId) -> Sequence[Ref]:
        refs = [ref for (owner, _), ref in self._state.refs.items() if owner == repository]
        return sorted(refs, key=lambda ref: (ref.kind, ref.name))

    @override
    def compare_and_set(self, repository: RepositoryId, update: RefUpdate) -> None:
        draft, key = self._draft, (repository, update.name)
        if plan_update(update, draft.refs.get(key), retired=key in draft.retired_tags):
            verify_present((repository, update.new) in draft.repository_commits, "such commit")
            draft.refs[key] = Ref(update.kind, update.name, update.new)
            draft.advance(repository)

    @override
    def delete(self, repository: RepositoryId, name: RefName, expected: CommitId) -> None:
        draft, key = self._draft, (repository, name)
        current = plan_deletion(name, expected, draft.refs.get(key))
        if current.kind is RefKind.TAG:
            draft.retired_tags[key] = None
        del draft.refs[key]
        draft.advance(repository)


def _matches(record: RepositoryRecord, query: RepositoryQuery) -> bool:
    text, namespace = query.text.casefold(), query.namespace
    return (
        query.readable.includes(record.name, private=record.private)
        and (text in str(record.name).casefold() or text in record.description.casefold())
        and (namespace is None or record.name.namespace.lower() == namespace.lower())
        and (query.base is None or record.base == query.base)
        and (query.kind is None or record.kind is query.kind)
        and (query.adapter_type is None or record.adapter_type == query.adapter_type)
        and (query.after is None or record.name.key > query.after)
    )
