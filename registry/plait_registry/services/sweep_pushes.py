"""Ending pushes that nobody ends, and uploads that nobody needs.

(1) pushes, open or completed, that began before the grace go with all that they staged; (2) an
announced object goes when no open push has staged its file for the length of the grace, since a
push that begins anew finds it again; (3) uploads in parts that the store holds and no row names go
when they are older than the grace.

A push whose rows go while it completes fails cleanly, with `push-not-found` or
`object-not-found`, and the client begins anew.
"""

from __future__ import annotations

from plait.model.ids import ObjectId
from plait_registry.domain.garbage import MarkKind
from plait_registry.domain.manifest_files import find_files
from plait_registry.domain.ports import Database, Records, Transfers
from plait_registry.domain.records import PushState, RepositoryId, UploadRow
from plait_registry.services.garbage_report import GarbageReport, Run

_File = tuple[RepositoryId, ObjectId]


class SweepPushes:
    """The first layer of garbage collection."""

    def __init__(self, database: Database, transfers: Transfers) -> None:
        self._database = database
        self._transfers = transfers

    def __call__(self, run: Run, report: GarbageReport) -> None:
        """Sweep, and add what went to the report."""
        self._sweep_pushes(run, report)
        self._sweep_uploads(run, report)
        self._sweep_unknown(run, report)

    def _sweep_pushes(self, run: Run, report: GarbageReport) -> None:
        with self._database.read() as records:
            rows = records.remains.list_pushes()
        stale = [row.id for row in rows if row.created_at <= run.cutoff]
        report.pushes += len(stale)
        if stale and run.sweep:
            self._database.transact(lambda records: records.remains.drop_pushes(stale))

    def _sweep_uploads(self, run: Run, report: GarbageReport) -> None:
        with self._database.read() as records:
            due = _find_due(records, run)
        report.uploads += len(due)
        if not run.sweep:
            return

        def drop(records: Records) -> list[UploadRow]:
            idle, wanted = _find_idle(records, run)
            _mark(records, idle, wanted, run)
            still_due = _find_due(records, run)
            for upload in still_due:
                records.remains.drop_upload(upload)
                records.marks.remove(MarkKind.UPLOAD, upload.repository, [upload.object])
            return still_due

        for upload in self._database.transact(drop):
            self._transfers.abandon_upload(upload.object, upload.handle)

    def _sweep_unknown(self, run: Run, report: GarbageReport) -> None:
        listed = [it for it in self._transfers.list_uploads() if it.begun_at <= run.cutoff]
        # After they were listed: a row may have come for one of them.
        with self._database.read() as records:
            known = {row.handle for row in records.remains.list_uploads()}
        for upload in listed:
            if upload.handle not in known:
                report.uploads += 1
                if run.sweep:
                    self._transfers.abandon_upload(upload.object_id, upload.handle)


def _find_idle(records: Records, run: Run) -> tuple[list[UploadRow], list[UploadRow]]:
    """Return the uploads of files that no open push stages, and the others."""
    staged: set[_File] = set()
    for push in records.remains.list_pushes():
        if push.state is PushState.OPEN and push.created_at > run.cutoff:
            _, manifests = records.pushes.load_staged(push.id)
            staged.update(
                (push.repository, file.sha256)
                for item in manifests
                for file in find_files(item.body)
            )
    idle: list[UploadRow] = []
    wanted: list[UploadRow] = []
    for upload in records.remains.list_uploads():
        (wanted if (upload.repository, upload.file) in staged else idle).append(upload)
    return idle, wanted


def _mark(records: Records, idle: list[UploadRow], wanted: list[UploadRow], run: Run) -> None:
    for upload in idle:
        records.marks.insert(MarkKind.UPLOAD, upload.repository, [upload.object], run.now)
    for upload in wanted:
        records.marks.remove(MarkKind.UPLOAD, upload.repository, [upload.object])


def _find_due(records: Records, run: Run) -> list[UploadRow]:
    idle, _ = _find_idle(records, run)
    due = []
    for upload in idle:
        marks = records.marks.find(MarkKind.UPLOAD, upload.repository, [upload.object])
        if marks.get(upload.object, run.now) <= run.cutoff:
            due.append(upload)
    return due
