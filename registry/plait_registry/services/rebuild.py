"""Rebuilding an empty database from the object store alone.

(1) read the journal of refs: the newest document of each repository that is not deleted; (2) find
the documents that say where files are, by looking at all that is small in the stores; (3) for each
repository, walk from its refs to all commits and read their manifests, each checked against its id;
(4) read every file of theirs through its extents and verify it as a push does; a document that
somebody forged does not stand this; (5) in one transaction for each repository, insert the rows and
the refs.

What comes back: repositories, tags, branches, commits, manifests and files, with the same ids. What
does not: users, tokens, roles, rules, notes, validations, attestations and their keys, events and
the audit log, which the store does not hold; a backup of the database does. A repository of which
something is missing is left out and reported.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from plait.errors import Integrity, InvalidInput, NotFound, PlaitError, TooLarge
from plait.model import canonical
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, ObjectId, abbreviate, hash_bytes, parse_object_id
from plait.model.manifest import File, Manifest
from plait.model.refs import RefUpdate
from plait_registry.domain.ancestry import Link
from plait_registry.domain.bases import BaseRow
from plait_registry.domain.dedup import SALT_SIZE
from plait_registry.domain.extents import FORMAT as EXTENTS_FORMAT
from plait_registry.domain.policy import find_declaration, parse_adapter_type
from plait_registry.domain.ports import Clock, Database, ObjectStore, Records, Transfers
from plait_registry.domain.records import CommitRow, Extent, FileRow, NewRepository, ObjectRow
from plait_registry.domain.ref_journal import RefSnapshot, find_newest
from plait_registry.domain.staging import IncomingCommit, list_files, place_in_graph
from plait_registry.services.back_up import verify_empty
from plait_registry.services.garbage_report import Tell
from plait_registry.services.journal_refs import JournalRefs, read_journal
from plait_registry.services.read_declarations import list_base_rows
from plait_registry.services.stored_file import read_file
from plait_registry.services.stores import Stores
from plait_registry.services.verify_file import VerifyFile

LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes. Larger objects are not looked at in (2)."""
_BEGINNING = b'{"extents":'
"""How the canonical JSON of a document of extents begins."""


@dataclass(slots=True)
class RebuildReport:
    """What came back."""

    repositories: int = 0
    commits: int = 0
    files: int = 0
    refs: int = 0
    failed: list[str] = field(default_factory=list)
    """Why a repository, or one of its refs, did not."""


@dataclass(frozen=True, slots=True)
class _Version:
    """A repository's content, read and verified."""

    rows: Sequence[CommitRow]
    bases: Sequence[BaseRow]
    manifests: Mapping[ManifestId, bytes]
    files: Sequence[FileRow]


class Rebuild:
    """Rebuilds one database."""

    def __init__(
        self, database: Database, stores: Stores, transfers: Transfers, journal: ObjectStore,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._database = database
        self._stores = stores
        self._journal = journal
        self._clock = clock
        self._verify = [
            VerifyFile(stores.objects, transfers, salt=b"", allow_non_finite=allowed)
            for allowed in (False, True)
        ]
        self._known: dict[ObjectId, FileRow] = {}

    def __call__(self, tell: Tell = lambda _: None) -> RebuildReport:
        """Rebuild, and say what came back.

        Raises:
            Conflict: `database-not-empty`.
        """
        verify_empty(self._database)
        report = RebuildReport()
        newest = find_newest([snapshot for _, snapshot in read_journal(self._journal)])
        alive = [snapshot for _, snapshot in sorted(newest.items()) if not snapshot.deleted]
        tell(f"{len(alive)} repositories are in the journal")
        places = self._find_places()
        tell(f"{len(places)} files are described in the store")
        for snapshot in alive:
            try:
                self._rebuild(snapshot, places, report)
            except PlaitError as error:
                report.failed.append(f"{snapshot.name}: {error.message}")
            tell(f"{snapshot.name} is done")
        JournalRefs(self._database, self._journal, self._clock)()
        return report

    def _find_places(self) -> dict[ObjectId, list[tuple[Extent, ...]]]:
        """Return what the store's documents say about where each file is."""
        places: dict[ObjectId, list[tuple[Extent, ...]]] = {}
        for store in self._stores.all:
            for item in store.list():
                if item.size > LARGEST_DOCUMENT:
                    continue
                begin = b"".join(store.read(item.id, 0, min(len(_BEGINNING), item.size)))
                if begin == _BEGINNING:
                    for file, extents in self._parse_extents(item.id):
                        places.setdefault(file, []).append(extents)
        return places

    def _parse_extents(self, item: ObjectId) -> Iterator[tuple[ObjectId, tuple[Extent, ...]]]:
        try:
            document = canonical.loads(self._read(item))
            if document["format"] != EXTENTS_FORMAT:
                return
            extents = tuple(
                Extent(parse_object_id(it["object"]), int(it["offset"]), int(it["size"]))
                for it in document["extents"]
            )
            if any(extent.offset < 0 or extent.size <= 0 for extent in extents):
                return
            yield parse_object_id(document["file"]), extents
        except (PlaitError, KeyError, TypeError, ValueError):
            return  # somebody's file that looks like one

    def _rebuild(
        self,
        snapshot: RefSnapshot,
        places: Mapping[ObjectId, Sequence[tuple[Extent, ...]]],
        report: RebuildReport,
    ) -> None:
        version = self._load(snapshot, places)
        now = self._clock.now()

        def insert(records: Records) -> None:
            if records.namespaces.find(snapshot.name.namespace.lower()) is None:
                records.namespaces.insert(snapshot.name.namespace, now)
            salt = secrets.token_bytes(SALT_SIZE)
            repository = records.repositories.insert(
                NewRepository(
                    snapshot.name,
                    snapshot.description,
                    now,
                    snapshot.private,
                    salt,
                    snapshot.kind,
                )
            ).id
            objects = {extent.object for row in version.files for extent in row.extents}
            rows = [ObjectRow(item, self._measure(item)) for item in sorted(objects)]
            records.files.insert_manifests(version.manifests)
            records.files.insert(repository, version.files, rows)
            records.commits.insert(repository, version.rows)
            records.bases.insert(version.bases)
            for ref in snapshot.refs:
                update = RefUpdate(ref.kind, ref.name, None, ref.target)
                records.refs.compare_and_set(repository, update)
            records.journal.retire(repository, snapshot.retired)
            records.held.raise_version(repository, snapshot.sequence + 1)

        self._database.transact(insert)
        report.repositories += 1
        report.commits += len(version.rows)
        report.files += len(version.files)
        report.refs += len(snapshot.refs)

    def _load(
        self, snapshot: RefSnapshot, places: Mapping[ObjectId, Sequence[tuple[Extent, ...]]]
    ) -> _Version:
        commits = self._walk(snapshot)
        bodies = {it.manifest: self._read(ObjectId(it.manifest)) for it in commits.values()}
        manifests = {key: Manifest.from_bytes(body) for key, body in bodies.items()}
        files = list_files(manifests.values())
        rows = [self._find_file(file, places.get(key, ())) for key, file in files.items()]
        located = {row.sha256: row for row in rows}
        objects = self._stores.objects
        types = {
            key: parse_adapter_type(file, read_file(objects, located[file.sha256].extents))
            for key, manifest in manifests.items()
            if (file := find_declaration(manifest)) is not None
        }
        placed: dict[CommitId, CommitRow] = {}
        links: dict[CommitId, Link] = {}
        incoming = [
            IncomingCommit(commit.id, commit.to_bytes(), commit, manifests[commit.manifest])
            for commit in map(commits.__getitem__, _order(commits))
        ]
        for item in incoming:
            commit = item.commit
            row = place_in_graph(
                item,
                parents=[placed[parent] for parent in commit.parents],
                links=links,
                adapter_type=types.get(commit.manifest),
            )
            placed[item.id] = row
            links[item.id] = Link(row.id, row.depth, row.skip)
        return _Version(list(placed.values()), list_base_rows(incoming), bodies, rows)

    def _walk(self, snapshot: RefSnapshot) -> dict[CommitId, Commit]:
        """Return all commits that the refs reach, each checked against its id."""
        found: dict[CommitId, Commit] = {}
        pending = [ref.target for ref in snapshot.refs]
        while pending:
            key = pending.pop()
            if key not in found:
                found[key] = Commit.from_bytes(self._read(ObjectId(key)))
                pending.extend(found[key].parents)
        return found

    def _find_file(self, file: File, places: Sequence[tuple[Extent, ...]]) -> FileRow:
        known = self._known.get(file.sha256)
        if known is not None:
            return known
        problem: PlaitError = NotFound(
            "object-not-found", f"the store does not say where {file.path} is"
        )
        for extents in places if file.size else ((),):
            for verify in self._verify:
                try:
                    row = self._known[file.sha256] = verify.stored(file, extents).row
                except (Integrity, InvalidInput, NotFound, TooLarge) as error:
                    problem = error
                else:
                    return row
        raise problem

    def _read(self, item: ObjectId) -> bytes:
        body = b"".join(self._stores.read(item, is_document=True))
        if hash_bytes(body) != item:
            raise Integrity(
                "object-corrupt", f"the object {abbreviate(item)} is not what its name says"
            )
        return body

    def _measure(self, item: ObjectId) -> int:
        size = self._stores.objects.stat(item)
        if size is None:
            raise NotFound("object-not-found", f"the object {abbreviate(item)} is missing")
        return size


def _order(commits: Mapping[CommitId, Commit]) -> list[CommitId]:
    """Return the commits, parents before children."""
    ordered: dict[CommitId, None] = {}
    pending = sorted(commits)
    while pending:
        key = pending[-1]
        lacking = [parent for parent in commits[key].parents if parent not in ordered]
        if key in ordered or not lacking:
            ordered.setdefault(key)
            pending.pop()
        else:
            pending.extend(lacking)
    return list(ordered)
