"""Removing rows that nothing holds, and deleting objects that no row needs from the store.

An object is deleted in three steps: (1) in one transaction, see that nothing needs it, and condemn
it; (2) delete it from the store; (3) take the mark away. Why nothing that is needed ever goes:

1. Transactions that write are serialisable: each sees all of another one, or nothing.
2. Whoever comes to need an object does so by a row that names it (an announced upload, a staged
   commit or manifest, a reserved document, a file), inserted by a transaction that finds the object
   not condemned, or finds afterwards, before it relies on the object, that it is not.
3. So while an object is condemned no row comes to name it (a push is told to come back), and while
   a row names it, it is not condemned.
4. The bytes go between (1) and (3) only. A push that looks into the store after it has its row
   therefore sees what will stay.
5. When a push completes, one transaction turns its rows into a version's and looks once more at all
   that it re-uses: files, objects, parents. Of that transaction and one that swept any of it,
   whichever comes second fails or sees the other.
6. A document is an object in all of this, in a store of its own. One space of marks serves both: an
   id stands for the same bytes in either, and while a row needs it as one it is condemned as
   neither. So the worst of a mark that was meant for the other is to be told to come back.
7. A deleter deletes within five minutes of its own mark. A mark that is an hour old belongs to one
   that died, and may be taken over. Between the two lies what clocks and slow stores may differ by.

No object is condemned while a backup holds all of them, since the copy of the database that it took
may name any.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from plait.model.ids import ObjectId
from plait_registry.domain.extents import describe_extents
from plait_registry.domain.garbage import NOBODY, MarkKind, RowKind
from plait_registry.domain.moments import shift
from plait_registry.domain.ports import Clock, Database, ObjectStore, Records, StoredObject
from plait_registry.services.garbage_report import GarbageReport, Run, Tell
from plait_registry.services.stores import Stores
from plait_registry.services.sweep_repository import chunks

LONGEST_DELETION = timedelta(minutes=5)
"""After its mark, a deleter deletes nothing more."""
ABANDONED_AFTER = timedelta(hours=1)
"""A mark of that age belongs to a deleter that died."""
BATCH = 200
"""Rows that one transaction drops, or objects that it condemns."""
LISTING = 1_000
"""Objects of the store that one query asks about."""


class SweepObjects:
    """The last two layers of garbage collection."""

    def __init__(self, database: Database, stores: Stores, clock: Clock) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock

    def __call__(self, run: Run, report: GarbageReport, tell: Tell) -> None:
        """Sweep, and add what went to the report."""
        name_documents(self._database)
        self._drop_rows(run, report)
        if run.sweep:
            self._take_over(run)
        seen = 0
        for store in self._stores.all:
            for batch in chunks(store.list(), LISTING):
                self._consider(store, batch, run, report)
                seen += len(batch)
                tell(f"{seen} objects of the store looked at")
        if run.sweep:
            self._drop_absent()

    def _drop_rows(self, run: Run, report: GarbageReport) -> None:
        for kind, count in ((RowKind.COMMIT, "commits"), (RowKind.MANIFEST, "manifests"),
                            (RowKind.FILE, "files")):  # fmt: skip
            with self._database.read() as records:
                ids = records.remains.list_unheld(kind)
            dropped = 0 if run.sweep else len(ids)
            for batch in chunks(ids if run.sweep else (), BATCH):
                dropped += self._drop(kind, batch)
            setattr(report, count, getattr(report, count) + dropped)

    def _drop(self, kind: RowKind, ids: Sequence[str]) -> int:
        return self._database.transact(lambda records: records.remains.drop_unheld(kind, ids))

    def _consider(
        self, store: ObjectStore, batch: Sequence[StoredObject], run: Run, report: GarbageReport
    ) -> None:
        """Mark what nothing needs, and delete what was marked before the grace."""
        sizes = {item.id: item.size for item in batch}
        with self._database.read() as records:
            condemned = records.condemned.find(sizes)
            garbage = sizes.keys() - records.remains.find_needed(sizes) - condemned.keys()
            marks = records.marks.find(MarkKind.OBJECT, NOBODY, sizes)
        due = sorted(item for item in garbage if marks.get(item, run.now) <= run.cutoff)
        waiting = garbage - set(due)
        report.waiting_objects += len(waiting)
        report.waiting_bytes += sum(sizes[item] for item in waiting)
        if run.sweep:
            fresh = sorted(waiting - marks.keys())
            stale = sorted(ObjectId(item) for item in marks.keys() - garbage)
            if fresh or stale:
                self._database.transact(lambda records: _mark(records, fresh, stale, run))
        for part in chunks(due, BATCH):
            gone: Sequence[ObjectId] = part
            if run.sweep:
                condemned_now = self._condemn(store, part)
                report.held = report.held or condemned_now is None
                gone = condemned_now or ()
            report.objects += len(gone)
            report.object_bytes += sum(sizes[item] for item in gone)

    def _condemn(self, store: ObjectStore, objects: Sequence[ObjectId]) -> list[ObjectId] | None:
        """Delete from a store what nothing needs; None where a backup holds all of them."""
        now = self._clock.now()

        def condemn(records: Records) -> list[ObjectId] | None:
            if records.condemned.is_held(now):
                return None
            needed = records.remains.find_needed(objects)
            taken = records.condemned.find(objects)
            goes = [item for item in objects if item not in needed and item not in taken]
            records.remains.drop_objects(goes)
            records.marks.remove(MarkKind.OBJECT, NOBODY, goes)
            records.condemned.put(goes, now)
            return goes

        goes = self._database.transact(condemn)
        if goes:
            self._delete([store], goes, since=now)
        return goes

    def _delete(
        self, stores: Sequence[ObjectStore], objects: Sequence[ObjectId], *, since: str
    ) -> None:
        last = shift(since, LONGEST_DELETION)
        deleted = []
        for item in objects:
            if self._clock.now() > last:
                break
            for store in stores:
                store.delete(item)
            deleted.append(item)
        self._database.transact(lambda records: records.condemned.remove(deleted))

    def _take_over(self, run: Run) -> None:
        """Finish what deleters that died have begun."""
        oldest = shift(run.now, -ABANDONED_AFTER)

        def take(records: Records) -> list[ObjectId]:
            abandoned = [
                item for item, since in records.condemned.list().items() if since <= oldest
            ]
            # A mark may also come from a push that looked at what it had announced itself.
            needed = records.remains.find_needed(abandoned)
            records.condemned.remove(sorted(needed))
            goes = [item for item in abandoned if item not in needed]
            records.remains.drop_objects(goes)
            records.condemned.put(goes, run.now)
            return goes

        goes = self._database.transact(take)
        if goes:
            # The mark does not say where it was being deleted.
            self._delete(self._stores.all, goes, since=run.now)

    def _drop_absent(self) -> None:
        """Drop the rows of objects that belong to no file and are not in the store either."""
        with self._database.read() as records:
            loose = records.remains.list_loose()
            marks = records.marks.find(MarkKind.OBJECT, NOBODY, loose)
        store = self._stores.objects
        absent = [item for item in loose if item not in marks and store.stat(item) is None]
        for batch in chunks(absent, BATCH):
            self._condemn(store, batch)


def name_documents(database: Database) -> None:
    """Let files know their documents, which came from programs of the schema before."""

    def name(records: Records) -> Sequence[ObjectId]:
        files = records.remains.list_undocumented(BATCH)
        extents = records.files.load_extents(None, files)
        records.remains.name_documents(
            {file: describe_extents(file, extents[file]).id for file in files}
        )
        return files

    with database.read() as records:
        found = records.remains.list_undocumented(1)
    while found:
        found = database.transact(name)


def _mark(records: Records, fresh: Sequence[ObjectId], stale: Sequence[ObjectId], run: Run) -> None:
    records.marks.insert(MarkKind.OBJECT, NOBODY, fresh, run.now)
    records.marks.remove(MarkKind.OBJECT, NOBODY, stale)
