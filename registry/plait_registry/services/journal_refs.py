"""Keeping the journal of refs: `plait_registry.domain.ref_journal` says what it is for.

The database remembers which version of each repository the journal has. What is behind is written
from one consistent view, soon after the change and by whoever comes first; written twice does no
harm. Older documents go with garbage collection.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.errors import InvalidInput
from plait.model.ids import ObjectId
from plait_registry.domain.object_names import has_its_name
from plait_registry.domain.ports import Clock, Database, ObjectStore
from plait_registry.domain.ref_journal import RefSnapshot, find_newest

BATCH = 100
"""Repositories that one look at the database finds."""


class JournalRefs:
    """Writes what the journal has yet to hear."""

    def __init__(self, database: Database, journal: ObjectStore, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock

    def __call__(self) -> int:
        """Write what is behind, and return how many repositories that were."""
        written = 0
        while True:
            with self._database.read() as records:
                behind = records.journal.list_behind(BATCH)
            for key in behind:
                self._write(key)
            written += len(behind)
            if len(behind) < BATCH:
                return written

    def prune(self, before: str) -> int:
        """Remove documents written before then that newer ones replace; return how many."""
        snapshots = dict(read_journal(self._journal))
        newest = {it.to_document().id for it in find_newest(list(snapshots.values())).values()}
        old = [key for key, it in snapshots.items() if key not in newest and it.at <= before]
        for key in sorted(old):
            self._journal.delete(key)
        return len(old)

    def _write(self, key: str) -> None:
        with self._database.read() as records:
            snapshot = records.journal.load_snapshot(key, self._clock.now())
        document = snapshot.to_document()
        self._journal.put(document.id, document.body)
        self._database.transact(
            lambda records: records.journal.set_journaled(key, snapshot.sequence)
        )


def read_journal(journal: ObjectStore) -> Iterator[tuple[ObjectId, RefSnapshot]]:
    """Yield the documents of a journal; one that is damaged is passed over."""
    for item in journal.list():
        if has_its_name(journal, item.id):
            try:
                yield item.id, RefSnapshot.from_bytes(b"".join(journal.read(item.id)))
            except (InvalidInput, KeyError, TypeError, ValueError):
                continue
