"""Which repositories the journal of refs has yet to hear of, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from plait.model.address import RepositoryName
from plait.model.refs import RefName
from plait_registry.adapters.memory.state import MemoryTable
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.ref_journal import JournalTable, RefSnapshot


class MemoryJournalTable(MemoryTable, JournalTable):
    """Versions and what they name, in one transaction."""

    @override
    def list_behind(self, limit: int) -> Sequence[str]:
        state = self._state
        behind = (key for key, it in state.versions.items() if state.journaled.get(key, 0) < it)
        return list(behind)[:limit]

    @override
    def load_snapshot(self, key: str, at: str) -> RefSnapshot:
        state, sequence = self._state, self._state.versions[key]
        row = state.repositories.get(key)
        if row is None:
            return RefSnapshot(RepositoryName.parse(key), sequence, at, deleted=True)
        refs = [ref for (owner, _), ref in state.refs.items() if owner == row.id]
        return RefSnapshot(
            name=row.name,
            sequence=sequence,
            at=at,
            description=row.description,
            private=row.private,
            refs=tuple(sorted(refs, key=lambda ref: (ref.kind, ref.name))),
            retired=tuple(sorted(name for owner, name in state.retired_tags if owner == row.id)),
            kind=row.kind,
        )

    @override
    def retire(self, repository: RepositoryId, names: Sequence[str]) -> None:
        self._draft.retired_tags.update(
            dict.fromkeys((repository, RefName(name)) for name in names)
        )

    @override
    def set_journaled(self, key: str, sequence: int) -> None:
        draft = self._draft
        draft.journaled[key] = max(draft.journaled.get(key, 0), sequence)
