"""fsck: everything is there that the database names, and is what it claims to be, or is reported.

(1) every commit and manifest is what its id says, and stands where its parents put it; (2) every
file is made up by its extents, inside objects that are there; (3) every repository holds the
parents of its commits and the files of those that its refs reach, but for those that expired;
(4) the stores hold every object, with its size, and every document; whatever else they hold is
garbage, no damage; (5) on request, all bytes or a sample of them have the digest that is their
name.

A check changes nothing and can run beside pushes and garbage collection: what it finds in the
database it looks up once more in the store before it speaks of damage. It needs memory for one part
in 256 of the objects, or for one repository.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from plait.errors import PlaitError
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, ObjectId, abbreviate, hash_bytes
from plait_registry.domain.garbage import KeptRepository
from plait_registry.domain.inspection import DocumentKind, Finding, FindingKind
from plait_registry.domain.manifest_files import find_files
from plait_registry.domain.moments import shift
from plait_registry.domain.object_names import has_its_name
from plait_registry.domain.ports import Clock, Database, Records, StoredObject
from plait_registry.domain.reach import find_unreachable
from plait_registry.domain.records import CommitRow, FileRow, RepositoryId
from plait_registry.services.garbage_report import Tell
from plait_registry.services.stores import Stores
from plait_registry.services.sweep_repository import chunks

PAGE = 500
"""Rows that are looked at together."""

Row = TypeVar("Row")

_HEX = "0123456789abcdef"
_PUSH_AGAIN = "Run `plait-registry fsck --repair`, then push those versions again."
_REWRITE = "`plait-registry fsck --repair` writes it anew from the database."
_RESTORE = "Restore the database from a backup: see docs/care.md."


@dataclass(frozen=True, slots=True)
class Depth:
    """How many of the store's bytes to read."""

    fraction: float = 0.0
    """0: none, 1: all."""
    seed: str = ""
    """The same one chooses the same objects."""

    def chooses(self, object_id: ObjectId) -> bool:
        """Tell whether an object belongs to the sample."""
        draw = hashlib.sha256(f"{self.seed}{object_id}".encode()).digest()
        return int.from_bytes(draw[:8]) < self.fraction * 2**64


@dataclass(frozen=True, slots=True)
class _Part:
    """What the stores list under one prefix of ids, with sizes."""

    prefix: str
    objects: Mapping[ObjectId, int]
    documents: Mapping[ObjectId, int]

    @property
    def sizes(self) -> Mapping[ObjectId, int]:
        """Both together."""
        return {**self.objects, **self.documents}


class CheckStore:
    """One check of everything."""

    def __init__(self, database: Database, stores: Stores, clock: Clock) -> None:
        self._database = database
        self._stores = stores
        self._clock = clock

    def __call__(self, depth: Depth, tell: Tell = lambda _: None) -> Iterator[Finding]:
        """Yield what is found, as it is found."""
        with self._database.read() as records:
            repositories = records.held.list_repositories()
        names = {item.id: str(item.name) for item in repositories}
        yield from self._check_commits(names, tell)
        yield from self._check_manifests(names)
        yield from self._check_files(names, tell)
        for repository in repositories:
            yield from self._check_repository(repository)
        tell(f"{len(repositories)} repositories checked")
        yield from self._check_objects(names, depth, tell)
        yield from self._check_deletions()

    def _check_commits(self, names: Mapping[RepositoryId, str], tell: Tell) -> Iterator[Finding]:
        seen = 0
        for page in self._pages(lambda records, after: records.inspection.page_commits(after, PAGE),
                                lambda row: row.id):  # fmt: skip
            with self._database.read() as records:
                parents = {parent for row in page for parent in row.parents}
                places = records.inspection.find_places(parents)
                wrong = {row.id: problem for row in page if (problem := _find_problem(row, places))}
                holders = records.inspection.find_holders(DocumentKind.COMMIT, wrong)
            for commit, problem in wrong.items():
                affected = _name(names, holders.get(commit, ()))
                yield Finding(FindingKind.COMMIT_CORRUPT, commit, problem, _RESTORE, affected)
            seen += len(page)
            tell(f"{seen} commits checked")

    def _check_manifests(self, names: Mapping[RepositoryId, str]) -> Iterator[Finding]:
        for page in self._pages(
            lambda records, after: records.inspection.page_manifests(after, PAGE),
            lambda row: row[0],
        ):
            wrong = [key for key, body in page if str(hash_bytes(body)) != str(key)]
            with self._database.read() as records:
                holders = records.inspection.find_holders(DocumentKind.MANIFEST, wrong)
            for key in wrong:
                affected = _name(names, holders.get(key, ()))
                problem = f"The row of the manifest {abbreviate(key)} is not what its id says."
                yield Finding(FindingKind.MANIFEST_CORRUPT, key, problem, _RESTORE, affected)

    def _check_files(self, names: Mapping[RepositoryId, str], tell: Tell) -> Iterator[Finding]:
        seen = 0
        for page in self._pages(lambda records, after: records.inspection.page_files(after, PAGE),
                                lambda row: row.sha256):  # fmt: skip
            with self._database.read() as records:
                used = {extent.object for row in page for extent in row.extents}
                sizes = records.inspection.find_sizes(used)
                wrong = [row.sha256 for row in page if not _is_whole(row, sizes)]
                holders = records.inspection.find_holders(DocumentKind.EXTENTS, wrong)
            for file in wrong:
                problem = f"The extents of the file {abbreviate(file)} do not make it up."
                affected = _name(names, holders.get(file, ()))
                yield Finding(FindingKind.FILE_EXTENTS, file, problem, _PUSH_AGAIN, affected)
            seen += len(page)
            tell(f"{seen} files checked")

    def _check_repository(self, repository: KeptRepository) -> Iterator[Finding]:
        name = (str(repository.name),)
        with self._database.read() as records:
            commits = records.held.load_commits(repository.id)
            targets = {ref.target for ref in records.refs.list(repository.id)}
            held = {commit.id for commit in commits}
            broken = sorted(targets - held)
            broken += [it.id for it in commits if not held.issuperset(it.parents)]
            lost = {commit.id for commit in find_unreachable(commits, targets)}
            manifests = sorted({it.manifest for it in commits if it.id not in lost})
            missing = _find_missing_files(records, repository.id, manifests)
        for commit in broken:
            problem = f"{repository.name} lacks {abbreviate(commit)}, or a parent of it."
            yield Finding(FindingKind.HISTORY_BROKEN, commit, problem, _RESTORE, name)
        for file in missing:
            problem = f"{repository.name} has a version with the file {abbreviate(file)}, and not "
            yield Finding(
                FindingKind.FILE_MISSING, file, f"{problem}the file itself.", _PUSH_AGAIN, name
            )

    def _check_objects(
        self, names: Mapping[RepositoryId, str], depth: Depth, tell: Tell
    ) -> Iterator[Finding]:
        for number, part in enumerate(self._list_parts(), 1):
            with self._database.read() as records:
                sizes = records.inspection.list_objects(part.prefix)
                documents = records.inspection.list_documents(part.prefix)
                needed = records.remains.find_needed(part.sizes)
            problems = self._compare(sizes, documents, part)
            for item in sorted(part.sizes.keys() & {*sizes, *documents} - set(problems)):
                if depth.chooses(item) and not self._is_right(item, documents, part):
                    problems[item] = _kind_of(item, documents, is_missing=False)
            yield from self._explain(names, problems, documents)
            for item in sorted(part.sizes.keys() - needed):
                problem = f"Nothing needs the {part.sizes[item]} bytes of {abbreviate(item)}."
                advice = "Garbage collection removes it after its grace."
                yield Finding(FindingKind.STRAY_OBJECT, item, problem, advice)
            tell(f"{number} of 256 parts of the store checked")

    def _list_parts(self) -> Iterator[_Part]:
        """Yield what both stores list, a part at a time."""
        objects, documents = (_by_prefix(store.list()) for store in self._stores.all)
        for (prefix, found), (_, written) in zip(objects, documents, strict=True):
            yield _Part(prefix, found, written)

    def _is_right(self, item: ObjectId, documents: Collection[ObjectId], part: _Part) -> bool:
        """Tell whether the bytes of an object or a document are what its id says."""
        is_apart = item in documents and item in part.documents
        return has_its_name(self._stores.documents if is_apart else self._stores.objects, item)

    def _compare(
        self,
        sizes: Mapping[ObjectId, int],
        documents: Mapping[ObjectId, DocumentKind],
        part: _Part,
    ) -> dict[ObjectId, FindingKind]:
        problems: dict[ObjectId, FindingKind] = {}
        for item in sorted({*sizes, *documents}):
            found = (part.sizes if item in documents else part.objects).get(item)
            if found is None:
                # It may have come after the stores were listed.
                found = self._stores.stat(item, is_document=item in documents)
            if found is None:
                if self._is_needed(item):
                    problems[item] = _kind_of(item, documents, is_missing=True)
            elif found != sizes.get(item, found):
                problems[item] = FindingKind.OBJECT_SIZE
        return problems

    def _is_needed(self, item: ObjectId) -> bool:
        """Tell whether something needs an object now: it may have been swept meanwhile."""
        with self._database.read() as records:
            return bool(records.remains.find_needed([item]))

    def _explain(
        self,
        names: Mapping[RepositoryId, str],
        problems: Mapping[ObjectId, FindingKind],
        documents: Mapping[ObjectId, DocumentKind],
    ) -> Iterator[Finding]:
        if not problems:
            return
        with self._database.read() as records:
            users = records.inspection.find_users(problems)
            files = {file for found in users.values() for file in found}
            of_files = records.inspection.find_holders(DocumentKind.EXTENTS, files)
            of_documents = {
                kind: records.inspection.find_holders(
                    kind, [item for item in problems if documents.get(item) is kind]
                )
                for kind in (DocumentKind.COMMIT, DocumentKind.MANIFEST)
            }
        for item, kind in problems.items():
            holders = {owner for file in users.get(item, ()) for owner in of_files.get(file, ())}
            for found in of_documents.values():
                holders.update(found.get(item, ()))
            advice = _PUSH_AGAIN if item not in documents else _REWRITE
            yield Finding(kind, item, _describe(kind, item), advice, _name(names, holders))

    def _check_deletions(self) -> Iterator[Finding]:
        oldest = shift(self._clock.now(), -timedelta(hours=1))
        with self._database.read() as records:
            condemned = records.condemned.list()
        for item, since in sorted(condemned.items()):
            if since <= oldest:
                problem = f"The deletion of {abbreviate(item)}, begun at {since}, has not ended."
                advice = "The next run of garbage collection finishes it."
                yield Finding(FindingKind.DELETION_UNFINISHED, item, problem, advice)

    def _pages(
        self, load: Callable[[Records, str], Sequence[Row]], key: Callable[[Row], str]
    ) -> Generator[Sequence[Row]]:
        after = ""
        while True:
            with self._database.read() as records:
                page = load(records, after)
            if not page:
                return
            yield page
            after = key(page[-1])


def _by_prefix(listing: Iterator[StoredObject]) -> Iterator[tuple[str, dict[ObjectId, int]]]:
    """Yield all 256 prefixes with what the store lists under each; it lists them in order."""
    found = next(listing, None)
    for prefix in (high + low for high in _HEX for low in _HEX):
        part: dict[ObjectId, int] = {}
        while found is not None and found.id[:2] <= prefix:
            part[found.id] = found.size
            found = next(listing, None)
        yield prefix, part


def _find_problem(row: CommitRow, places: Mapping[CommitId, tuple[int, int]]) -> str | None:
    """Return what is wrong with the row of a commit."""
    name = f"The row of the commit {abbreviate(row.id)}"
    if str(hash_bytes(row.body)) != str(row.id):
        return f"{name} is not what its id says."
    try:
        commit = Commit.from_bytes(row.body)
    except PlaitError as error:
        return f"{name} is no commit: {error.message}"
    if (commit.parents, commit.manifest) != (row.parents, row.manifest):
        return f"{name} names other parents or another manifest than the commit."
    if not set(row.parents) <= places.keys():
        return f"A parent of the commit {abbreviate(row.id)} is missing."
    generation = 1 + max((places[parent][0] for parent in row.parents), default=0)
    depth = places[row.parents[0]][1] + 1 if row.parents else 0
    if (row.generation, row.depth) != (generation, depth):
        return f"{name} has not its place in history."
    return None


def _is_whole(row: FileRow, sizes: Mapping[ObjectId, int]) -> bool:
    inside = all(
        extent.offset >= 0 and extent.offset + extent.size <= sizes.get(extent.object, -1)
        for extent in row.extents
    )
    return inside and sum(extent.size for extent in row.extents) == row.size


def _find_missing_files(
    records: Records, repository: RepositoryId, manifests: Sequence[ManifestId]
) -> list[ObjectId]:
    held = records.held.load_files(repository)
    named: set[ObjectId] = set()
    for batch in chunks(manifests, PAGE):
        bodies = records.files.load_manifests(repository, batch)
        for body in bodies.values():
            named.update(file.sha256 for file in find_files(body))
    missing = named - held.keys()
    return sorted(missing - records.held.find_expired(repository, missing).keys())


def _kind_of(item: ObjectId, documents: Collection[ObjectId], *, is_missing: bool) -> FindingKind:
    if item in documents:
        return FindingKind.DOCUMENT_MISSING if is_missing else FindingKind.DOCUMENT_CORRUPT
    return FindingKind.OBJECT_MISSING if is_missing else FindingKind.OBJECT_CORRUPT


def _describe(kind: FindingKind, item: ObjectId) -> str:
    what = {
        FindingKind.OBJECT_MISSING: "The object {} is not in the store.",
        FindingKind.OBJECT_SIZE: "The object {} has another size in the store.",
        FindingKind.OBJECT_CORRUPT: "The bytes of the object {} are not what its name says.",
        FindingKind.DOCUMENT_MISSING: "The document {} is not in the store.",
        FindingKind.DOCUMENT_CORRUPT: "The document {} is not what its name says.",
    }
    return what[kind].format(abbreviate(item))


def _name(names: Mapping[RepositoryId, str], owners: Collection[RepositoryId]) -> tuple[str, ...]:
    return tuple(sorted(names[owner] for owner in set(owners) if owner in names))
