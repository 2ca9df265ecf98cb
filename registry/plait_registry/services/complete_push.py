"""Completing a push: from objects that arrived to a ref that moved.

(1) read what was staged, and check it against the repository: parents known, the move allowed;
(2) verify every file that is new, by streaming it; (3) reserve, then write commits and manifests to
the object store, from which the database can be rebuilt; (4) in one transaction, look once more at
all that is re-used, insert the rows and move the ref by compare-and-swap. Until (4) ends nobody
sees anything, and nothing is locked while bytes are read. How it gets on with garbage collection,
`plait_registry.services.sweep_objects` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from plait import wire
from plait.errors import Integrity, InvalidInput, NotFound, PlaitError, TooLarge
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.commit import Commit
from plait.model.commit_graph import is_ancestor
from plait.model.ids import CommitId, ManifestId, ObjectId, abbreviate
from plait.model.manifest import File, Manifest
from plait_registry.domain.access import Caller, Readable, Right
from plait_registry.domain.ancestry import Link
from plait_registry.domain.change import Action, Change
from plait_registry.domain.extents import describe_extents
from plait_registry.domain.object_names import has_its_name
from plait_registry.domain.ports import Clock, Database, Records, Transfers
from plait_registry.domain.records import (
    CommitRow,
    Extent,
    ObjectRow,
    PushId,
    PushRow,
    PushState,
    RepositoryRecord,
    UploadRow,
)
from plait_registry.domain.ref_update import verify_expected, verify_fast_forward
from plait_registry.domain.staging import (
    IncomingCommit,
    IncomingSource,
    collect,
    find_outside_parents,
    list_files,
    place_in_graph,
    verify_parents_known,
)
from plait_registry.services.access import find_repository
from plait_registry.services.authenticate import refresh_caller
from plait_registry.services.changes import record_change
from plait_registry.services.commit_source import RecordsSource
from plait_registry.services.guard_push import (
    Reused,
    find_restored,
    reserve_documents,
    verify_intact,
)
from plait_registry.services.guard_ref import verify_update_allowed
from plait_registry.services.limits import verify_room_for_notes, verify_room_for_ref
from plait_registry.services.quotas import verify_quota
from plait_registry.services.read_declarations import (
    ReadDeclarations,
    list_base_rows,
    verify_kinds,
)
from plait_registry.services.stores import Stores
from plait_registry.services.trigger_validation import trigger_validation
from plait_registry.services.verify_file import VerifiedFile, VerifyFile, digest_table

FILES_AT_ONCE = 2
"""Verified by one push: memory and the store's patience are shared with other pushes."""
DOCUMENTS_AT_ONCE = 4
"""Written by one push; each is small, and waits for the store's disk."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """What a push wants, and what the repository knows about it."""

    repository: RepositoryRecord
    push: PushRow
    incoming: Sequence[IncomingCommit]
    """The commits that are new to the repository, parents first."""
    manifests: Mapping[ManifestId, bytes]
    """The canonical JSON of their manifests."""
    outside: Mapping[CommitId, CommitRow]
    """Their parents in the repository."""
    files: Mapping[ObjectId, File]
    known: Mapping[ObjectId, ObjectId | None]
    """Those of `files` that are stored, each with the digest of its tensor table."""
    extents: Mapping[ObjectId, Sequence[Extent]]
    """Where the known files are whose table in the manifest is not the stored one."""
    uploads: Mapping[ObjectId, Sequence[UploadRow]]
    located: Mapping[ObjectId, Sequence[Extent]]


class CompletePush:
    """The last step of a push."""

    def __init__(
        self, database: Database, stores: Stores, transfers: Transfers, clock: Clock
    ) -> None:
        self._database = database
        self._store = stores.objects
        self._documents = stores.documents
        self._transfers = transfers
        self._clock = clock
        self._read_declarations = ReadDeclarations(database, stores.objects)

    def __call__(self, caller: Caller, name: RepositoryName, push_id: PushId) -> wire.PushResult:
        """Complete the push, or return the answer of an earlier completion.

        Raises:
            NotFound: `object-not-found`, something has not arrived.
            Integrity, InvalidInput: bytes are not what they claim to be.
            Conflict: the ref moved meanwhile, or the move would leave commits behind.
            PermissionDenied: `ref-protected`, `attestations-missing`.
            TooLarge: `quota-exceeded`, `too-many-notes`, `too-many-refs`.
            Unauthenticated: the token was revoked, or ended, while bytes were read.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.WRITE)
            push = records.pushes.get(repository.id, push_id)
            if push.state is PushState.COMPLETED:
                return wire.decode(wire.PushResult, dict(push.result or {}))
            verify_update_allowed(records, caller, repository, push.update)
            staged = _load(records, caller, repository, push)
        verified = self._verify_files(staged)
        rows = self._place(staged, verified)
        self._verify_move(staged, rows)
        self._write_documents(staged, rows, verified)
        return self._commit(caller, staged, rows, verified)

    def _verify_files(self, staged: _Staged) -> list[VerifiedFile]:
        verify = VerifyFile(
            self._store,
            self._transfers,
            salt=staged.repository.salt,
            allow_non_finite=staged.push.allow_non_finite,
        )

        def check(file: File) -> VerifiedFile | None:
            uploads = staged.uploads.get(file.sha256, ())
            try:
                if file.sha256 not in staged.known:
                    return verify.uploaded(file, uploads, staged.located)
                if file.sha256 in staged.extents:
                    return verify.stored(file, staged.extents[file.sha256])
            # Not where the store or the disk failed: what arrived is not sent again.
            except (Integrity, InvalidInput, TooLarge):
                self._discard(staged.repository, uploads)
                raise
            return None

        # One file waits for the store while another is digested.
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            checks = [pool.submit(check, file) for file in staged.files.values()]
            try:
                found = [done.result() for done in checks]
            except PlaitError:
                pool.shutdown(cancel_futures=True)
                raise
        return [item for item in found if item is not None]

    def _discard(self, repository: RepositoryRecord, uploads: Sequence[UploadRow]) -> None:
        """Forget what failed, so that a wrong object never stands in the way of the right one.

        Only an object whose bytes do not have its name is removed. The right one stays, whatever
        a manifest said about it: another push may have verified it and be about to refer to it.
        """
        objects = {upload.object for upload in uploads}
        # Not every one is wrong: a weight may be NaN, or the manifest lie. Others may complete
        # with the right ones at this moment, and must not meet them condemned.
        wrong = {item for item in objects if not has_its_name(self._store, item)}
        now = self._clock.now()

        def condemn(records: Records) -> list[ObjectId]:
            records.pushes.forget_uploads(repository.id, objects)
            spared = records.files.find_objects(wrong) | records.condemned.find(wrong).keys()
            goes = sorted(wrong - spared)
            records.condemned.put(goes, now)
            return goes

        # An object is created only where there is none. While it is condemned, nobody else removes
        # it or comes to rely on it, so that what is removed here is what was read here.
        condemned = self._database.transact(condemn)
        for item in condemned:
            self._store.discard_wrong(item)
        if condemned:
            self._database.transact(lambda records: records.condemned.remove(condemned))

    def _place(self, staged: _Staged, verified: Sequence[VerifiedFile]) -> list[CommitRow]:
        brought = {item.row.sha256: item.row.extents for item in verified}
        adapter_types = self._read_declarations(staged.incoming, brought)
        rows = dict(staged.outside)
        placed = []
        with self._database.read() as records:
            links = _Links(records, staged.repository)
            for item in staged.incoming:
                row = place_in_graph(
                    item,
                    parents=[rows[parent] for parent in item.commit.parents],
                    links=links,
                    adapter_type=adapter_types.get(item.commit.manifest),
                )
                rows[row.id] = row
                links[row.id] = Link(row.id, row.depth, row.skip)
                placed.append(row)
        return placed

    def _verify_move(self, staged: _Staged, rows: Sequence[CommitRow]) -> None:
        update = staged.push.update
        named = {update.new, *(note.commit for note in staged.push.notes)}
        with self._database.read() as records:
            outside = named - {row.id for row in rows}
            unknown = outside - records.commits.load(staged.repository.id, outside).keys()
            for commit in sorted(unknown):
                raise NotFound(
                    "commit-not-found",
                    f"The commit {abbreviate(commit)}, which the push names, is neither in the "
                    f"push nor in {staged.repository.name}.",
                )
            current = records.refs.find(staged.repository.id, update.name)
            verify_expected(update, current)
            if current is not None and not update.force:
                # From where the swap will move the ref, if it does: the ref may stand at the new
                # commit now, and be back at the expected one by then.
                old = update.expected or current.target
                source = IncomingSource(RecordsSource(records, staged.repository), rows)
                verify_fast_forward(update, forward=is_ancestor(source, old, update.new))

    def _write_documents(
        self, staged: _Staged, rows: Sequence[CommitRow], verified: Iterable[VerifiedFile]
    ) -> None:
        documents = {ObjectId(key): body for key, body in staged.manifests.items()}
        documents.update((ObjectId(row.id), row.body) for row in rows)
        for file in verified:
            document = describe_extents(file.row.sha256, file.row.extents)
            documents[document.id] = document.body
        if documents:
            push = staged.push
            self._database.transact(lambda records: reserve_documents(records, push, documents))
        with ThreadPoolExecutor(DOCUMENTS_AT_ONCE) as pool:
            # Read to the end, since that is what raises.
            list(pool.map(self._documents.put, documents.keys(), documents.values()))

    def _commit(
        self,
        caller: Caller,
        staged: _Staged,
        rows: Sequence[CommitRow],
        verified: Sequence[VerifiedFile],
    ) -> wire.PushResult:
        objects = {item.uploaded.sha256: item.uploaded for item in verified if item.uploaded}
        reused = Reused(
            known=staged.known.keys(),
            extents=[item.row.extents for item in verified],
            commits=_find_named(staged, rows),
        )
        now = self._clock.now()

        def commit(records: Records) -> wire.PushResult:
            # Rights, rules and the repository itself may have changed while bytes were read.
            current = refresh_caller(records, caller, now)
            repository = find_repository(records, current, staged.repository.name, Right.WRITE)
            push = records.pushes.get(repository.id, staged.push.id)
            if push.state is PushState.COMPLETED:  # by the same call, sent twice
                return wire.decode(wire.PushResult, dict(push.result or {}))
            verify_update_allowed(records, current, repository, push.update)
            stored = records.files.find_objects(objects)
            fresh = [row for key, row in objects.items() if key not in stored]
            self._verify_still_there(fresh)
            verify_intact(records, repository, reused, fresh)
            result = wire.PushResult(
                ref=wire.Ref(push.update.kind, push.update.name, push.update.new),
                commits=len(rows),
                bytes_verified=sum(item.row.size for item in verified),
                bytes_stored=sum(row.size for row in fresh),
            )
            verify_quota(records, current, repository.name, staged.files)
            verify_room_for_notes(records, repository, push.notes)
            verify_room_for_ref(records, repository, push.update)
            records.files.insert_manifests(staged.manifests)
            records.files.insert(repository.id, [item.row for item in verified], fresh)
            records.files.link(repository.id, staged.files)
            records.commits.insert(repository.id, rows)
            records.bases.insert(list_base_rows(staged.incoming))
            records.commits.insert_notes(repository.id, push.notes)
            records.refs.compare_and_set(repository.id, push.update)
            records.pushes.complete(push.id, wire.encode(result), staged.files)
            records.condemned.release([push.id])
            record_change(records, current, _describe_push(repository, push, rows), at=now)
            trigger_validation(records, current, repository, push.update, at=now)
            return result

        return self._database.transact(commit)

    def _verify_still_there(self, objects: Sequence[ObjectRow]) -> None:
        """Check that nobody removed an object since this push verified it."""
        for row in objects:
            if self._store.stat(row.sha256) is None:
                raise NotFound(
                    "object-not-found",
                    f"The object {abbreviate(row.sha256)} was removed from the store meanwhile: "
                    "push again.",
                )


def _describe_push(
    repository: RepositoryRecord, push: PushRow, rows: Sequence[CommitRow]
) -> Change:
    return Change.of_repository(
        Action.PUSH,
        repository.name,
        kind=push.update.kind.value,
        ref=push.update.name,
        old=push.update.expected,
        new=push.update.new,
        force=push.update.force,
        commits=len(rows),
    )


def _find_named(staged: _Staged, rows: Sequence[CommitRow]) -> set[CommitId]:
    """Return the commits outside of the push that it builds on or points at."""
    named = {staged.push.update.new, *(note.commit for note in staged.push.notes)}
    return {*staged.outside, *named} - {row.id for row in rows}


def _load(records: Records, caller: Caller, repository: RepositoryRecord, push: PushRow) -> _Staged:
    readable = Readable.by(caller)
    commits, manifests = records.pushes.load_staged(push.id)
    present = records.commits.load(repository.id, [item.id for item in commits])
    fresh = [(item.id, item.body) for item in commits if item.id not in present]
    named = {Commit.from_bytes(body).manifest for _, body in fresh}
    bodies = {item.id: item.body for item in manifests if item.id in named}
    # A commit may return to a version that the repository has: its manifest need not be sent.
    bodies.update(records.files.load_manifests(repository.id, named - bodies.keys()))
    # Whether they are canonical was checked when they came; a third of the time goes into that.
    parsed = {key: Manifest.from_json(canonical.loads(body)) for key, body in bodies.items()}
    incoming = collect(fresh, parsed)
    verify_kinds(repository, parsed.values())
    outside = records.commits.load(repository.id, find_outside_parents(incoming))
    verify_parents_known(incoming, outside)
    restored = find_restored(records, repository, manifests)
    files = list_files([*(item.manifest for item in incoming), *restored])
    known = records.files.find_known(readable, files)
    extents = records.files.load_extents(None, known)
    _verify_sizes(files, extents)
    doubtful = {key for key, table in known.items() if table != digest_table(files[key])}
    lacking = [file for key, file in files.items() if key not in known]
    uploads: dict[ObjectId, list[UploadRow]] = {}
    for row in records.pushes.find_uploads(repository.id, [file.sha256 for file in lacking]):
        uploads.setdefault(row.file, []).append(row)
    tensors = {entry.sha256 for file in lacking if file.tensors for entry in file.tensors.entries}
    return _Staged(
        repository=repository,
        push=push,
        incoming=incoming,
        manifests=bodies,
        outside=outside,
        files=files,
        known=known,
        extents={key: extents[key] for key in doubtful},
        uploads=uploads,
        located=records.files.locate_tensors(readable, tensors),
    )


def _verify_sizes(
    files: Mapping[ObjectId, File], stored: Mapping[ObjectId, Sequence[Extent]]
) -> None:
    """Check what a manifest says about the sizes of files that are stored."""
    for digest, extents in stored.items():
        size = sum(extent.size for extent in extents)
        if files[digest].size != size:
            raise Integrity(
                "size-mismatch",
                f"{files[digest].path} has {size} bytes, not the {files[digest].size} that its "
                "manifest says.",
                path=files[digest].path,
            )


class _Links(dict[CommitId, Link]):
    """The links of commits, those of the repository loaded when they are first asked for.

    A push of n commits asks for O(log(history)) of them at most: the ends of its jumps.
    """

    def __init__(self, records: Records, repository: RepositoryRecord) -> None:
        super().__init__()
        self._records = records
        self._repository = repository

    def __missing__(self, commit: CommitId) -> Link:
        row = self._records.commits.load(self._repository.id, [commit])[commit]
        link = self[commit] = Link(row.id, row.depth, row.skip)
        return link
