"""Repairing what a check found, as far as the registry can by itself.

- A commit's, a manifest's or a file's document is written anew from the database, to its place.
- Of an object whose bytes are lost or wrong, the registry has no other copy: it forgets the files
  that lie in it, and removes it, so that a push of such a version is asked for them again and
  brings them back. Until then, reading them says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plait.errors import Unavailable
from plait.model.ids import ObjectId
from plait_registry.domain.extents import describe_extents
from plait_registry.domain.garbage import RowKind
from plait_registry.domain.inspection import DocumentKind, Finding, FindingKind
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.services.stores import Stores

_LOST = frozenset({FindingKind.OBJECT_MISSING, FindingKind.OBJECT_SIZE, FindingKind.OBJECT_CORRUPT})
_DOCUMENTS = frozenset({FindingKind.DOCUMENT_MISSING, FindingKind.DOCUMENT_CORRUPT})


@dataclass(slots=True)
class RepairReport:
    """What was repaired."""

    documents: int = 0
    """Written anew."""
    objects: int = 0
    """Removed, so that a push brings their files again."""
    files: int = 0
    """Forgotten with them."""


class RepairStore:
    """Repairs one finding after the other."""

    def __init__(self, database: Database, stores: Stores, clock: Clock) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock

    def __call__(self, findings: Iterable[Finding]) -> RepairReport:
        """Repair what can be repaired, and leave everything else as it is."""
        report = RepairReport()
        for finding in findings:
            item = ObjectId(finding.subject)
            if finding.kind in _DOCUMENTS:
                report.documents += self._rewrite(item)
            elif finding.kind in _LOST:
                report.files += self._forget(item)
                report.objects += 1
        return report

    def _rewrite(self, item: ObjectId) -> int:
        with self._database.read() as records:
            body = _find_body(records, item)
        if body is None:
            return 0
        # It is created only where there is none. What stands there is wrong, so nobody misses it.
        self._stores.documents.discard_wrong(item)
        self._stores.documents.put(item, body)
        return 1

    def _forget(self, item: ObjectId) -> int:
        now = self._clock.now()

        def forget(records: Records) -> int:
            if records.condemned.find([item]):
                raise Unavailable(
                    "busy", "Garbage collection is removing that object: try again in an hour."
                )
            files = records.inspection.find_users([item]).get(item, ())
            for file in files:
                _expire_everywhere(records, file, now)
            records.remains.drop_unheld(RowKind.FILE, files)
            records.remains.drop_objects([item])
            records.condemned.put([item], now)
            return len(files)

        forgotten = self._database.transact(forget)
        self._stores.objects.delete(item)
        self._database.transact(lambda records: records.condemned.remove([item]))
        return forgotten


def _expire_everywhere(records: Records, file: ObjectId, now: str) -> None:
    """Let every repository go of a file, and remember that a push may bring it back."""
    holders = records.inspection.find_holders(DocumentKind.EXTENTS, [file]).get(file, ())
    for owner in holders:
        records.held.unlink_files(owner, [file])
        records.held.expire_files(owner, [file], now)


def _find_body(records: Records, item: ObjectId) -> bytes | None:
    """Return what a document should hold."""
    kind = records.inspection.list_documents(item).get(item)
    if kind is DocumentKind.COMMIT:
        return records.inspection.page_commits(_before(item), 1)[0].body
    if kind is DocumentKind.MANIFEST:
        return records.inspection.page_manifests(_before(item), 1)[0][1]
    if kind is DocumentKind.EXTENTS:
        for file in records.inspection.find_documented([item]):
            extents = records.files.load_extents(None, [file])[file]
            return describe_extents(file, extents).body
    return None


def _before(item: ObjectId) -> str:
    """Return a text that sorts just before an id, after all other ids."""
    return item[:-1] + chr(ord(item[-1]) - 1) + "g"
