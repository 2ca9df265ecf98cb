"""A push: commits are staged, missing bytes arrive, then everything becomes visible at once.

    begin         what the push wants and its first commits; answers what to upload
    stage         further commits of a long push; answers what to upload for them
    sign_uploads  signed requests for objects; what arrived before is not asked for again
    complete      verifies, inserts and moves the ref, in one transaction

Nothing of a push is visible before `complete` ends, and a crash at any point leaves the old state
or the new one. Every call can be repeated: an interrupted push begins anew and finds its objects.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from plait import wire
from plait.errors import Conflict, InvalidInput, NotFound, TooLarge
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.commit import Commit
from plait.model.ids import (
    CommitId,
    ManifestId,
    ObjectId,
    hash_bytes,
    parse_commit_id,
    parse_object_id,
)
from plait.model.manifest import File, Manifest
from plait.model.refs import RefKind, RefUpdate, parse_ref_name
from plait_registry.domain.access import Caller, Readable, Right
from plait_registry.domain.dedup import SALT_SIZE, Located, Ranges, join_extents, plan_ranges
from plait_registry.domain.ports import (
    Clock,
    Database,
    Records,
    SignedRequest,
    Transfers,
)
from plait_registry.domain.records import (
    NoteRow,
    PushId,
    PushRow,
    PushState,
    RepositoryId,
    RepositoryRecord,
    StagedCommit,
    StagedManifest,
    UploadRow,
)
from plait_registry.domain.ref_update import verify_expected
from plait_registry.domain.staging import list_files
from plait_registry.services.access import find_repository
from plait_registry.services.complete_push import CompletePush
from plait_registry.services.guard_push import verify_not_condemned
from plait_registry.services.guard_ref import verify_update_allowed
from plait_registry.services.limits import (
    verify_room_for_notes,
    verify_room_for_push,
    verify_staged,
)
from plait_registry.services.notes import verify_note
from plait_registry.services.quotas import verify_quota
from plait_registry.services.read_declarations import verify_kinds
from plait_registry.services.stores import Stores

MOST_NOTES_PER_PUSH = 10_000

_SHA256 = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""How canonical JSON writes the digest of a file (and of a tensor)."""


class Push:
    """The four steps of a push."""

    def __init__(
        self, database: Database, stores: Stores, transfers: Transfers, clock: Clock
    ) -> None:
        self._database = database
        self._transfers = transfers
        self._clock = clock
        self._complete = CompletePush(database, stores, transfers, clock)

    def begin(self, caller: Caller, name: RepositoryName, request: wire.NewPush) -> wire.PushPlan:
        """Open a push and return what it has to upload.

        Raises:
            Conflict: `ref-update-conflict`, the ref is not where the caller saw it;
                `too-many-pushes`.
            InvalidInput: a commit, a manifest or a note breaks a rule; `wrong-repository-kind`.
            PermissionDenied: `ref-protected`.
            TooLarge: `quota-exceeded`, `too-many-notes`, `push-too-large`.
        """
        update = _parse_update(request.ref)
        if len(request.notes) > MOST_NOTES_PER_PUSH:
            raise TooLarge(
                "request-too-large", f"At most {MOST_NOTES_PER_PUSH} notes can come with a push."
            )
        now = self._clock.now()
        notes = tuple(_parse_note(note, now) for note in request.notes)
        staged = _parse_staged(request.staged)
        push = PushId(secrets.token_hex(16))
        # In a read of its own: those that begin at the same time need not wait for each other for
        # a limit that may well be passed by a few.
        with self._database.read() as records:
            verify_room_for_push(records, find_repository(records, caller, name, Right.WRITE))

        def insert(records: Records) -> RepositoryRecord:
            repository = find_repository(records, caller, name, Right.WRITE)
            verify_update_allowed(records, caller, repository, update)
            verify_kinds(repository, staged.parsed)
            verify_expected(update, records.refs.find(repository.id, update.name))
            verify_quota(records, caller, repository.name, staged.files)
            verify_room_for_notes(records, repository, notes)
            records.pushes.insert(
                PushRow(
                    id=push,
                    repository=repository.id,
                    update=update,
                    notes=notes,
                    allow_non_finite=request.allow_non_finite,
                    created_at=now,
                    state=PushState.OPEN,
                    result=None,
                )
            )
            records.pushes.stage(push, staged.commits, staged.manifests)
            verify_staged(records, push)
            return repository

        repository = self._database.transact(insert)
        return self._plan(caller, repository, push, staged.files)

    def stage(
        self, caller: Caller, name: RepositoryName, push_id: PushId, request: wire.StagedCommits
    ) -> wire.PushPlan:
        """Add commits to an open push and return what they have to upload.

        Raises:
            InvalidInput: `wrong-repository-kind`.
            TooLarge: `push-too-large`.
        """
        staged = _parse_staged(request)

        def add(records: Records) -> RepositoryRecord:
            repository = find_repository(records, caller, name, Right.WRITE)
            _verify_open(records.pushes.get(repository.id, push_id))
            verify_kinds(repository, staged.parsed)
            records.pushes.stage(push_id, staged.commits, staged.manifests)
            verify_staged(records, push_id)
            return repository

        repository = self._database.transact(add)
        return self._plan(caller, repository, push_id, staged.files)

    def sign_uploads(
        self, caller: Caller, name: RepositoryName, push_id: PushId, request: wire.UploadRequest
    ) -> wire.Uploads:
        """Return the requests by which the client sends objects to the store.

        Raises:
            InvalidInput: an object is not what the plan of its file asked for.
        """
        if len(request.objects) > wire.MOST_FILES_PER_CALL:
            raise TooLarge(
                "request-too-large",
                f"At most {wire.MOST_FILES_PER_CALL} objects a call: ask for the others after.",
            )
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.WRITE)
            push = records.pushes.get(repository.id, push_id)
            _verify_open(push)
            _, manifests = records.pushes.load_staged(push.id)
            files = _find_files(manifests, {item.file for item in request.objects})
            asked = [_parse_object(item, repository.id, files) for item in request.objects]
            _verify_ranges(records, Readable.by(caller), files, asked)
            stored = records.files.find_objects({upload.object for upload in asked})
            begun = records.pushes.find_uploads(repository.id, {upload.file for upload in asked})
        earlier = _by_wish(begun)
        uploads = [earlier.get(item) or self._begin_upload(item) for item in asked]
        if not set(uploads).issubset(begun):
            wanted = uploads
            uploads = self._database.transact(
                lambda records: _announce(records, repository.id, wanted)
            )
        parts = [[parse_object_id(part) for part in item.parts] for item in request.objects]
        return wire.Uploads(
            [self._sign(upload, stored, told) for upload, told in zip(uploads, parts, strict=True)]
        )

    def complete(self, caller: Caller, name: RepositoryName, push_id: PushId) -> wire.PushResult:
        """Verify what arrived and make it visible; the same answer when asked again.

        Raises:
            NotFound: `object-not-found`, something has not arrived.
            Integrity, InvalidInput: bytes are not what they claim to be.
            Conflict: the ref moved meanwhile.
        """
        return self._complete(caller, name, push_id)

    def _plan(
        self,
        caller: Caller,
        repository: RepositoryRecord,
        push: PushId,
        files: Mapping[ObjectId, File],
    ) -> wire.PushPlan:
        """Return what files need; a read of its own, so that no writer waits for it."""
        readable = Readable.by(caller)
        with self._database.read() as records:
            known = records.files.find_known(readable, files)
            lacking = [file for digest, file in files.items() if digest not in known]
            plans = _plan_files(records, readable, repository.id, lacking)
        wanted = sum(end - begin for plan in plans for begin, end in plan.ranges)
        total = sum(file.size for file in files.values())
        sizes = self._transfers.sizes
        return wire.PushPlan(
            push,
            plans,
            total - wanted,
            salt=repository.salt.hex(),
            largest_whole=sizes.largest_whole,
            part_size=sizes.part,
        )

    def _begin_upload(self, item: UploadRow) -> UploadRow:
        return replace(item, handle=self._transfers.begin_upload(item.object, item.size))

    def _begin_anew(self, upload: UploadRow) -> UploadRow:
        """Replace an upload that the store no longer knows."""
        begun = self._begin_upload(upload)

        def replace_upload(records: Records) -> None:
            records.pushes.forget_uploads(upload.repository, [upload.object])
            records.pushes.insert_uploads([begun])

        self._database.transact(replace_upload)
        return begun

    def _sign(
        self, upload: UploadRow, stored: frozenset[ObjectId], told: Sequence[ObjectId]
    ) -> wire.Upload:
        if upload.object in stored:
            return wire.Upload(upload.object, [])
        try:
            parts = self._transfers.sign_upload(upload.object, upload.size, upload.handle, told)
        except NotFound:
            # The store dropped the parts since: garbage collection, or a rule of the bucket's own.
            anew = self._begin_anew(upload)
            parts = self._transfers.sign_upload(anew.object, anew.size, anew.handle, told)
        return wire.Upload(
            upload.object,
            [wire.UploadPart(part.offset, part.size, _as_wire(part.request)) for part in parts],
        )


def _plan_files(
    records: Records, readable: Readable, repository: RepositoryId, files: Sequence[File]
) -> list[wire.FilePlan]:
    if not files:
        return []
    begun = {
        row.file: row
        for row in records.pushes.find_uploads(repository, [file.sha256 for file in files])
    }
    located = records.files.locate_tensors(readable, _list_tensors(files))
    plans = []
    for file in files:
        upload = begun.get(file.sha256)
        # An upload that was begun goes on as it began, also where more tensors are known by now.
        goes_on = upload is not None and _is_for(upload, file, located)
        ranges = upload.ranges if upload and goes_on else plan_ranges(file, located)
        plans.append(wire.FilePlan(file.sha256, file.size, list(ranges)))
    return plans


def _is_for(upload: UploadRow, file: File, located: Located) -> bool:
    """Tell whether an upload that an earlier push announced still makes up the file.

    It does not where that push said something else about the file: whoever lied must not bar the
    way of those who do not.
    """
    try:
        _verify_size(upload, file)
        join_extents(file, upload.ranges, uploaded=upload.object, located=located)
    except InvalidInput:
        return False
    return True


def _announce(
    records: Records, repository: RepositoryId, uploads: Sequence[UploadRow]
) -> list[UploadRow]:
    """Remember uploads, and return each with the handle that counts.

    Where another client announced the same object meanwhile, both go on under one handle. Where an
    earlier push said something else about it, that is forgotten: an object joins one list of
    ranges of a file. What was said of other objects of the file, or of other files, stays.
    """
    files = {upload.file for upload in uploads}
    earlier = records.pushes.find_uploads(repository, files)
    wishes = _by_wish(uploads)
    asked = {(upload.file, upload.object) for upload in uploads}
    for wish, row in _by_wish(earlier).items():
        if (row.file, row.object) in asked and wish not in wishes:
            records.pushes.forget_uploads(repository, [row.object], row.file)
    verify_not_condemned(records, {upload.object for upload in uploads})
    records.pushes.insert_uploads(uploads)
    kept = {(row.file, row.object): row for row in records.pushes.find_uploads(repository, files)}
    return [kept[upload.file, upload.object] for upload in uploads]


def _by_wish(uploads: Iterable[UploadRow]) -> dict[UploadRow, UploadRow]:
    """Return uploads by what they would be without their handles."""
    return {replace(upload, handle=""): upload for upload in uploads}


def _list_tensors(files: Iterable[File]) -> set[ObjectId]:
    return {
        entry.sha256 for file in files if file.tensors is not None for entry in file.tensors.entries
    }


def _parse_update(ref: wire.PushRef) -> RefUpdate:
    try:
        kind = RefKind(ref.kind)
    except ValueError:
        raise InvalidInput(
            "invalid-input", f"A ref is a 'branch' or a 'tag', not {ref.kind!r:.40}."
        ) from None
    return RefUpdate(
        kind,
        parse_ref_name(ref.name),
        None if ref.expected is None else parse_commit_id(ref.expected),
        parse_commit_id(ref.new),
        ref.force,
    )


def _parse_note(note: wire.PushNote, now: str) -> NoteRow:
    verify_note(note.kind, note.body)
    return NoteRow(parse_commit_id(note.commit), note.kind, note.body, now)


@dataclass(frozen=True, slots=True)
class _Staged:
    """Commits and manifests that a call brought, checked each for itself."""

    commits: Sequence[StagedCommit]
    manifests: Sequence[StagedManifest]
    parsed: Sequence[Manifest]
    files: Mapping[ObjectId, File]
    """The files of the manifests."""


def _parse_staged(staged: wire.StagedCommits) -> _Staged:
    if len(staged.commits) > wire.MOST_COMMITS_PER_CALL:
        raise TooLarge(
            "request-too-large",
            f"At most {wire.MOST_COMMITS_PER_CALL} commits a call: send the others after.",
        )
    commits = []
    for document in staged.commits:
        body = canonical.dumps(document)
        Commit.from_bytes(body)
        commits.append(StagedCommit(CommitId(hash_bytes(body)), body))
    manifests, parsed = [], []
    for document in staged.manifests:
        body = canonical.dumps(document)
        parsed.append(Manifest.from_bytes(body))
        manifests.append(StagedManifest(ManifestId(hash_bytes(body)), body))
    return _Staged(commits, manifests, parsed, list_files(parsed))


def _find_files(
    manifests: Iterable[StagedManifest], wanted: Collection[str]
) -> dict[ObjectId, File]:
    """Return the files of as many manifests as are needed to know each of `wanted`.

    To parse all that a long push has staged, once for each of its calls, would take most of the
    push's time. Whether all manifests agree about a file is looked at when the push completes.
    """
    missing = {digest.encode("ascii", "replace") for digest in wanted}
    needed = []
    for item in manifests:
        # A tensor may have the digest of a wanted file: the empty one, for example.
        if not missing.isdisjoint(_SHA256.findall(item.body)):
            manifest = Manifest.from_json(canonical.loads(item.body))
            missing -= {file.sha256.encode("ascii") for file in manifest.files}
            needed.append(manifest)
    return list_files(needed)


def _parse_object(
    item: wire.NewObject, repository: RepositoryId, files: Mapping[ObjectId, File]
) -> UploadRow:
    """Return the upload as it was announced, without a handle yet."""
    file = files.get(parse_object_id(item.file))
    if file is None:
        raise InvalidInput("invalid-input", "The object belongs to no file of the push.")
    ranges: Ranges = tuple((begin, end) for begin, end in item.ranges)
    object_id = parse_object_id(item.sha256)
    upload = UploadRow(repository, file.sha256, ranges, object_id, item.size, handle="")
    _verify_size(upload, file)
    return upload


def _verify_size(upload: UploadRow, file: File) -> None:
    if upload.size != sum(end - begin for begin, end in upload.ranges) + SALT_SIZE:
        raise InvalidInput(
            "invalid-input",
            f"The object for {file.path!r} has not the size of its ranges and the salt.",
        )


def _verify_ranges(
    records: Records,
    readable: Readable,
    files: Mapping[ObjectId, File],
    asked: Sequence[UploadRow],
) -> None:
    tensors = _list_tensors(files[item.file] for item in asked)
    located = records.files.locate_tensors(readable, tensors)
    for item in asked:
        join_extents(files[item.file], item.ranges, uploaded=item.object, located=located)


def _as_wire(request: SignedRequest | None) -> wire.SignedRequest | None:
    if request is None:
        return None
    return wire.SignedRequest(request.method, request.url, dict(request.headers))


def _verify_open(push: PushRow) -> None:
    if push.state is not PushState.OPEN:
        raise Conflict(
            "push-superseded", "This push is complete already: begin a new one for more commits."
        )
