"""Rows that mean nothing, for tests of the database: ids are digests of made-up words."""

from collections.abc import Iterable, Sequence

from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId, ObjectId, hash_bytes
from plait.model.refs import RefKind, RefName, RefUpdate
from plait_registry.domain.access import SYSTEM, Readable
from plait_registry.domain.ancestry import Link, choose_skip
from plait_registry.domain.ports import Database, Records
from plait_registry.domain.records import (
    CommitRow,
    Extent,
    FileRow,
    NewRepository,
    NoteRow,
    ObjectRow,
    PushId,
    PushRow,
    PushState,
    RepositoryId,
    TensorRow,
    UploadRow,
)

NOW = "2026-11-24T06:07:00Z"
ALL = Readable.by(SYSTEM)
"""Every repository."""
MANIFEST = ManifestId(hash_bytes(b"the manifest"))


def new_repository(
    name: RepositoryName, description: str = "", created_at: str = NOW
) -> NewRepository:
    return NewRepository(name, description, created_at, private=False, salt=b"salt")


def digest(word: str) -> ObjectId:
    return hash_bytes(word.encode())


class History:
    """Commits as the registry would place them in its graph."""

    def __init__(self, salt: str = "") -> None:
        self._salt = salt
        self.rows: dict[CommitId, CommitRow] = {}

    def add(self, word: str, *parents: CommitRow) -> CommitRow:
        depth, skip = 0, None
        if parents:
            parent = self._link(parents[0])
            landing = self._jump(parent)
            depth, skip = parent.depth + 1, choose_skip(parent, landing, self._jump(landing))
        row = CommitRow(
            id=CommitId(digest(f"{self._salt}{word}")),
            body=f"the body of {word}".encode(),
            manifest=MANIFEST,
            parents=tuple(row.id for row in parents),
            generation=1 + max((row.generation for row in parents), default=0),
            depth=depth,
            skip=skip,
            time=NOW,
            adapter_type="LORA",
            base="org/model",
            size=len(word),
        )
        self.rows[row.id] = row
        return row

    def chain(self, count: int, *, word: str = "commit") -> list[CommitRow]:
        """Add a root and so many commits on top of it that there are `count`."""
        rows: list[CommitRow] = []
        for number in range(count):
            rows.append(self.add(f"{word} {number}", *rows[-1:]))
        return rows

    def with_merges(self, count: int) -> list[CommitRow]:
        """Add a line of `count` commits; every tenth joins a side branch of three commits."""
        line = self.chain(5)
        for number in range(5, count):
            parents = [line[-1]]
            if number % 10 == 0:
                side = line[-5]
                for step in range(3):
                    side = self.add(f"side {number} {step}", side)
                parents.append(side)
            line.append(self.add(f"line {number}", *parents))
        return line

    def _link(self, row: CommitRow) -> Link:
        return Link(row.id, row.depth, row.skip)

    def _jump(self, link: Link) -> Link:
        return link if link.skip is None else self._link(self.rows[link.skip])


def make_repository(database: Database, name: str = "team/sql") -> RepositoryId:
    with database.write() as records:
        return records.repositories.insert(new_repository(RepositoryName.parse(name), "", NOW)).id


def insert_commits(records: Records, repository: RepositoryId, rows: Iterable[CommitRow]) -> None:
    records.files.insert_manifests({MANIFEST: b"the manifest"})
    records.commits.insert(repository, list(rows))


def store_commits(database: Database, repository: RepositoryId, rows: Iterable[CommitRow]) -> None:
    with database.write() as records:
        insert_commits(records, repository, rows)


def branch(
    name: str, expected: CommitRow | None, new: CommitRow, kind: RefKind = RefKind.BRANCH
) -> RefUpdate:
    return RefUpdate(kind, RefName(name), None if expected is None else expected.id, new.id)


def tag(name: str, new: CommitRow) -> RefUpdate:
    return branch(name, None, new, RefKind.TAG)


def note(commit: CommitRow, text: str, created_at: str = NOW) -> NoteRow:
    return NoteRow(commit.id, "metrics", {"loss": [0.5, None], "text": text}, created_at)


def file_row(
    word: str,
    *extents: Extent,
    tensors: Sequence[TensorRow] = (),
    table: str | None = None,
) -> FileRow:
    return FileRow(
        sha256=digest(word),
        size=sum(extent.size for extent in extents),
        extents=extents,
        table=None if table is None else digest(table),
        tensors=tuple(tensors),
    )


def whole_file(word: str, size: int = 10) -> tuple[FileRow, ObjectRow]:
    """Return a file that is one object."""
    return file_row(word, Extent(digest(word), 0, size)), ObjectRow(digest(word), size)


def push_row(repository: RepositoryId, update: RefUpdate, *, word: str = "push") -> PushRow:
    return PushRow(
        id=PushId(word),
        repository=repository,
        update=update,
        notes=(),
        allow_non_finite=False,
        created_at=NOW,
        state=PushState.OPEN,
        result=None,
    )


def upload_row(repository: RepositoryId, word: str, *, handle: str = "handle") -> UploadRow:
    """Return an upload of two ranges of the file called `word`."""
    return UploadRow(
        repository=repository,
        file=digest(word),
        ranges=((0, 4), (6, 10)),
        object=digest(f"object of {word}"),
        size=8,
        handle=handle,
    )
