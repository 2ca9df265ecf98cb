"""Backup and restore: a registry at one point in time.

Backup: (1) hold all objects, so that garbage collection deletes none; (2) copy the database and
list the objects that the copy names; (3) copy those that the folder does not have yet, if asked;
(4) describe the backup, which makes it one; (5) let go. A push that completes after (2) is not in
it; what it brings does not matter. The hold ends by itself an hour after the last sign of life.

Restore, into a registry that holds nothing: (1) verify the backup's files; (2) restore the
database; (3) take the objects that the store lacks from the folder; (4) report those that are
neither here nor there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from plait.errors import Conflict, InvalidInput
from plait.model.ids import ObjectId
from plait_registry.domain.backup import (
    BackupDescription,
    BackupFolder,
    DatabaseCopier,
    NeededObject,
    ObjectIntake,
)
from plait_registry.domain.moments import shift
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.services.garbage_report import Tell
from plait_registry.services.stores import Stores

HOLD = timedelta(hours=1)
_RENEW = timedelta(minutes=10)
_HEX = "0123456789abcdef"


class BackUp:
    """Makes one backup."""

    def __init__(
        self, database: Database, stores: Stores, clock: Clock, copier: DatabaseCopier
    ) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock
        self._copier = copier

    def __call__(
        self, folder: BackupFolder, *, with_objects: bool, tell: Tell = lambda _: None
    ) -> BackupDescription:
        """Back up into a folder, and return what is there now.

        Raises:
            NotFound, Integrity: an object is missing or wrong; see `plait-registry fsck`.
        """
        folder.begin()
        created_at = self._clock.now()
        hold = _Hold(self._database, self._clock)
        try:
            self._copier.dump(
                folder.database_path, lambda records: folder.write_objects(_list_needed(records))
            )
            tell("the database is copied")
            if with_objects:
                self._copy_objects(folder, hold, tell)
            return folder.finish(created_at, self._copier.kind, copied=with_objects)
        finally:
            hold.end()

    def _copy_objects(self, folder: BackupFolder, hold: _Hold, tell: Tell) -> None:
        copied = 0
        for seen, item in enumerate(folder.read_objects(), 1):
            if not folder.has_object(item):
                folder.keep_object(item, hold.kept_during(self._read(item)))
                copied += 1
            hold.renew()
            if seen % 1_000 == 0:
                tell(f"{seen} objects are there, {copied} of them copied now")

    def _read(self, item: NeededObject) -> Iterator[bytes]:
        return self._stores.read(item.id, is_document=item.is_document)


@dataclass(slots=True)
class RestoreReport:
    """What a restore did."""

    description: BackupDescription
    taken: int = 0
    """Objects that came from the folder."""
    missing: list[ObjectId] = field(default_factory=list)
    """Those that the store lacks, and the folder too."""


class Restore:
    """Restores one backup."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        copier: DatabaseCopier,
        intake: ObjectIntake | None,
    ) -> None:
        """With no `intake`, what the stores lack is the operator's to copy."""
        self._database = database
        self._stores = stores
        self._copier = copier
        self._intake = intake

    def __call__(self, folder: BackupFolder, tell: Tell = lambda _: None) -> RestoreReport:
        """Restore, and say what is missing.

        Raises:
            Conflict: `database-not-empty`.
            InvalidInput: it is the backup of another kind of database.
            Integrity: the backup is damaged; nothing was changed.
        """
        description = folder.verify()
        if description.database != self._copier.kind:
            raise InvalidInput(
                "usage",
                f"This is a backup of {description.database}, and the settings name a database of "
                f"{self._copier.kind}.",
            )
        verify_empty(self._database)
        self._copier.restore(folder.database_path)
        tell("the database is restored")
        report = RestoreReport(description)
        for item in folder.read_objects():
            self._restore_object(folder, item, report)
        return report

    def _restore_object(
        self, folder: BackupFolder, item: NeededObject, report: RestoreReport
    ) -> None:
        found = self._stores.stat(item.id, is_document=item.is_document)
        if found is not None and item.size in (None, found):
            return
        if found is None and self._intake is not None and folder.has_object(item):
            if item.is_document:
                self._stores.documents.put(item.id, b"".join(folder.read_object(item)))
            else:
                self._intake.take(item.id, folder.read_object(item))
            report.taken += 1
        else:
            report.missing.append(item.id)


class _Hold:
    """Keeps garbage collection from deleting objects for as long as it is renewed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._name = f"backup {secrets.token_hex(8)}"
        self._renew_at = ""
        self.renew()

    def renew(self) -> None:
        """Go on holding; most calls do nothing."""
        now = self._clock.now()
        if now >= self._renew_at:
            self._renew_at = shift(now, _RENEW)
            until = shift(now, HOLD)
            self._database.transact(lambda records: records.condemned.hold(self._name, until))

    def kept_during(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the pieces, and go on holding while they come."""
        for piece in pieces:
            self.renew()
            yield piece

    def end(self) -> None:
        """Let go."""
        self._database.transact(lambda records: records.condemned.hold(self._name, None))


def verify_empty(database: Database) -> None:
    """Check that a database holds no registry.

    Raises:
        Conflict: `database-not-empty`.
    """
    with database.read() as records:
        repositories = records.held.list_repositories()
        users = records.users.list()
    if repositories or users:
        raise Conflict(
            "database-not-empty",
            "The database holds a registry already, and nothing was changed: name an empty one.",
        )


def _list_needed(records: Records) -> Iterator[NeededObject]:
    """Yield everything that the database needs of the store."""
    for prefix in (high + low for high in _HEX for low in _HEX):
        sizes = records.inspection.list_objects(prefix)
        documents = records.inspection.list_documents(prefix)
        needed = records.remains.find_needed({*sizes, *documents})
        for item in sorted(needed):
            if item in sizes:
                yield NeededObject(item, sizes[item])
            if item in documents:
                yield NeededObject(item, None)
