"""Which commits are versions of bases, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from typing_extensions import override

from plait_registry.adapters.memory.state import MemoryTable, verify_present
from plait_registry.domain.bases import BaseQuery, BaseRow, BaseTable, HeldBase


class MemoryBaseTable(MemoryTable, BaseTable):
    """Bases in one transaction."""

    @override
    def insert(self, rows: Sequence[BaseRow]) -> None:
        draft = self._draft
        for row in rows:
            verify_present(row.commit in draft.commits, "such commit")
            draft.bases.setdefault(row.commit, row)

    @override
    def search(self, query: BaseQuery) -> Sequence[HeldBase]:
        found = sorted(self._list_held(query), key=lambda it: (it.repository.key, it.row.commit))
        after = query.after or ("", "")
        return [it for it in found if (it.repository.key, it.row.commit) > after][: query.limit]

    def _list_held(self, query: BaseQuery) -> Iterator[HeldBase]:
        state = self._state
        names = {
            record.id: record.name
            for record in state.repositories.values()
            if query.readable.includes(record.name, private=record.private)
        }
        for owner, commit in state.repository_commits:
            row = state.bases.get(commit)
            if row is None or owner not in names:
                continue
            is_wanted = query.fingerprint in {None, row.fingerprint} and query.name in {
                None,
                row.name,
            }
            if is_wanted:
                found = state.commits[commit]
                yield HeldBase(names[owner], row, found.time, found.generation)
