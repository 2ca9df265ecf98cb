"""What the registry needs from the world, as small protocols.

Each has a contract suite in `tests/contract`, which every adapter passes, the in-memory twin
included. Adapters raise only `plait.errors`; whatever a driver raises, they translate.

Two rules hold for every database adapter:

- `Database.write` is one transaction: it ends with all of its changes or with none, and no two
  of them interleave in a way that a compare-and-swap could miss.
- Nothing but care of the data (`plait_registry.domain.garbage`) deletes a commit, a manifest or a
  file: elsewhere they are only ever added.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from plait.model.address import RepositoryName
from plait.model.commit_graph import Node
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.part_sizes import PartSizes
from plait.model.refs import Ref, RefName, RefUpdate
from plait_registry.domain.access import Readable
from plait_registry.domain.accounts import (
    AuditTable,
    NamespaceTable,
    ProtectionTable,
    TokenTable,
    UserTable,
)
from plait_registry.domain.bases import BaseTable
from plait_registry.domain.events import EventTable
from plait_registry.domain.garbage import CondemnedTable, HeldTable, MarkTable, RemainsTable
from plait_registry.domain.inspection import InspectionTable
from plait_registry.domain.jobs import JobTable
from plait_registry.domain.pushes import PushTable
from plait_registry.domain.records import (
    CommitRow,
    Extent,
    FileRow,
    NewRepository,
    NoteRow,
    ObjectRow,
    RepositoryId,
    RepositoryQuery,
    RepositoryRecord,
)
from plait_registry.domain.ref_journal import JournalTable
from plait_registry.domain.tallies import TallyTable
from plait_registry.domain.usage import UsageTable
from plait_registry.domain.validation_wish import ValidationTrigger
from plait_registry.domain.validations import (
    AttestationTable,
    ExpectedTable,
    ValidationTable,
    ValidatorKeyTable,
)
from plait_registry.domain.webhooks import DeliveryTable, WebhookTable

T = TypeVar("T")


class Clock(Protocol):
    """The time of day."""

    def now(self) -> str:
        """Return UTC to the second, as 2026-11-24T06:07:00Z."""


class ObjectStore(Protocol):
    """Immutable bytes under their sha256."""

    def stat(self, object_id: ObjectId) -> int | None:
        """Return the object's size in bytes, or None where it is absent."""

    def read(self, object_id: ObjectId, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop` (or the end) in pieces of about 1 MiB.

        Raises:
            NotFound: `object-not-found`, at the latest with the first piece.
        """

    def put(self, object_id: ObjectId, data: bytes) -> None:
        """Store a small object that the registry made; does nothing where it is there already.

        Raises:
            Integrity: `digest-mismatch`, the bytes are not what the id says.
            Unavailable: `disk-full`, or the store is away.
        """

    def delete(self, object_id: ObjectId) -> None:
        """Remove an object that nothing refers to; absent is fine."""

    def discard_wrong(self, object_id: ObjectId) -> None:
        """Read an object, and remove it where its bytes are not what its id says.

        Exactly the bytes that were read go, never a right object that took their place meanwhile:
        on S3 as far as the store can delete on a condition.
        """

    def list(self) -> Iterator[StoredObject]:
        """Yield all objects, a few at a time; names that are no object's are passed over."""

    def check(self) -> None:
        """Raise `Unavailable` where the store does not answer or does not let the registry in."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing of the store shows it."""

    id: ObjectId
    size: int
    """Bytes."""
    modified_at: str
    """When it was stored: UTC to the second, as 2026-11-24T06:07:00Z."""


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """An upload in parts of which the store holds some, or none yet."""

    object_id: ObjectId
    handle: str
    begun_at: str
    """UTC to the second."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that its signature allows whoever holds it to send, for a while."""

    method: str
    url: str
    """Absolute, or a path on the registry itself."""
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SignedPart:
    """A range of an object that one request carries."""

    offset: int
    size: int
    request: SignedRequest | None
    """None: this part arrived already."""


class Transfers(Protocol):
    """Signed requests by which clients move bytes to and from the store themselves."""

    @property
    def sizes(self) -> PartSizes:
        """How objects are cut into requests."""

    def begin_upload(self, object_id: ObjectId, size: int) -> str:
        """Return a handle for a new upload of an object."""

    def sign_upload(
        self, object_id: ObjectId, size: int, handle: str, parts: Sequence[ObjectId]
    ) -> Sequence[SignedPart]:
        """Return the parts that tile the object; none where the object arrived already.

        `parts` are the sha256 of each part in order, none for an object that goes in one request.
        They are signed, so that the store refuses other bytes.

        Raises:
            NotFound: `upload-not-found`, the store dropped the upload meanwhile: begin another.
            InvalidInput: `parts` are not as many as the object has.
        """

    def finish_upload(self, object_id: ObjectId, size: int, handle: str) -> None:
        """Make one object of the parts that arrived; does nothing where it is there already.

        Raises:
            NotFound: `object-not-found`, a part has not arrived.
            Integrity: `size-mismatch`.
        """

    def abandon_upload(self, object_id: ObjectId, handle: str) -> None:
        """Drop the parts that arrived; an upload that is finished or unknown is fine."""

    def list_uploads(self) -> Iterator[UnfinishedUpload]:
        """Yield the uploads in parts that were neither finished nor abandoned."""

    def sign_read(self, object_id: ObjectId, span: tuple[int, int] | None = None) -> SignedRequest:
        """Return a request for any range of the object.

        With a `span`, its begin and its end, the request is for exactly these bytes, has a header
        `range` that says so, and yields no others, whatever its holder sends.
        """


class RepositoryTable(Protocol):
    """Repositories by name; names differ in more than case."""

    def insert(self, new: NewRepository) -> RepositoryRecord:
        """Add an empty repository whose default branch is `main`.

        Raises:
            AlreadyExists: `repository-exists`.
        """

    def get(self, name: RepositoryName) -> RepositoryRecord:
        """Return a repository, whatever the case of `name`.

        Raises:
            NotFound: `repository-not-found`.
        """

    def search(self, query: RepositoryQuery) -> Sequence[RepositoryRecord]:
        """Return the repositories that match, sorted by key."""

    def update(
        self,
        repository: RepositoryId,
        *,
        description: str,
        private: bool,
        validate_on: ValidationTrigger = ValidationTrigger.NONE,
    ) -> None:
        """Write what can change about a repository."""

    def delete(self, repository: RepositoryId) -> None:
        """Remove a repository with all that only it has; commits and files stay until gc.

        Its objects have no home from then on: the id may become another repository's.
        """


class RefTable(Protocol):
    """The refs of repositories."""

    def find(self, repository: RepositoryId, name: RefName) -> Ref | None:
        """Return a branch or tag, or None."""

    def list(self, repository: RepositoryId) -> Sequence[Ref]:
        """Return all refs, sorted by kind and name."""

    def compare_and_set(self, repository: RepositoryId, update: RefUpdate) -> None:
        """Make `update.name` point at `update.new` if it points at `update.expected` now.

        Does nothing where the ref points at `update.new` already. Whether the move is a
        fast-forward is for the caller to know.

        Raises:
            Conflict: `ref-update-conflict` with details expected and actual (commit id or null);
                `tag-name-retired`, the name belonged to a tag that was deleted.
            AlreadyExists: `ref-exists`, the name is that of a tag (which never moves), or of a
                ref of the other kind.
        """

    def delete(self, repository: RepositoryId, name: RefName, expected: CommitId) -> None:
        """Remove a ref that points at `expected`; a tag's name is retired for good.

        Raises:
            NotFound: `ref-not-found`.
            Conflict: `ref-update-conflict`.
        """


class CommitTable(Protocol):
    """Commits, each in the repositories that hold it."""

    def insert(self, repository: RepositoryId, commits: Sequence[CommitRow]) -> None:
        """Add commits, parents before children; those that are there already stay as they are."""

    def load(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, CommitRow]:
        """Return those of `commits` that are in the repository, in one query."""

    def load_ancestry(
        self, repository: RepositoryId, commits: Collection[CommitId], depth: int
    ) -> Mapping[CommitId, Node]:
        """Return the nodes of `commits` and of their ancestors about `depth` generations back.

        Exactly: a commit's parents come along where its generation is less than `depth` below the
        highest one of `commits`. A walk in the order of `plait.model.commit_graph` therefore asks
        anew only after it has gone that far.
        """

    def find_by_prefix(self, repository: RepositoryId, prefix: str) -> Sequence[CommitId]:
        """Return up to two commits of the repository whose ids begin with `prefix`."""

    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        """Return the ancestor that many first parents back, in O(log n) steps and one query."""

    def insert_notes(self, repository: RepositoryId, notes: Sequence[NoteRow]) -> None:
        """Hang notes on commits of the repository."""

    def load_notes(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, Sequence[NoteRow]]:
        """Return the notes of `commits`, oldest first, in one query."""


class FileTable(Protocol):
    """Manifests, verified files, and the tensors inside them."""

    def insert_manifests(self, manifests: Mapping[ManifestId, bytes]) -> None:
        """Add manifests by their canonical JSON."""

    def load_manifests(
        self, repository: RepositoryId, manifests: Collection[ManifestId]
    ) -> Mapping[ManifestId, bytes]:
        """Return those of `manifests` that a commit of the repository names."""

    def insert(
        self, repository: RepositoryId, files: Sequence[FileRow], objects: Sequence[ObjectRow]
    ) -> None:
        """Add verified files and objects and say that the repository holds the files."""

    def link(self, repository: RepositoryId, files: Collection[ObjectId]) -> None:
        """Say that the repository holds files that are stored already."""

    def find_known(
        self, readable: Readable, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, ObjectId | None]:
        """Return those of `files` that a readable repository holds, each with `FileRow.table`."""

    def find_objects(self, objects: Collection[ObjectId]) -> frozenset[ObjectId]:
        """Return those of `objects` that are stored and verified."""

    def find_own(
        self, repository: RepositoryId, objects: Collection[ObjectId]
    ) -> frozenset[ObjectId]:
        """Return those of `objects` that were uploaded to the repository."""

    def locate_tensors(
        self, readable: Readable, tensors: Collection[ObjectId]
    ) -> Mapping[ObjectId, Sequence[Extent]]:
        """Return where the bytes of `tensors` are that readable repositories hold."""

    def load_extents(
        self, repository: RepositoryId | None, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, Sequence[Extent]]:
        """Return where the bytes of those of `files` are that the repository holds.

        With None, whichever repository holds them: for the registry's own reading.
        """


class Records(Protocol):
    """All tables, inside one transaction."""

    @property
    def repositories(self) -> RepositoryTable:
        """Repositories by name."""

    @property
    def refs(self) -> RefTable:
        """Branches and tags."""

    @property
    def commits(self) -> CommitTable:
        """Commits and their notes."""

    @property
    def bases(self) -> BaseTable:
        """Which commits are versions of bases."""

    @property
    def files(self) -> FileTable:
        """Manifests, files and tensors."""

    @property
    def pushes(self) -> PushTable:
        """Pushes under way."""

    @property
    def users(self) -> UserTable:
        """Users by name."""

    @property
    def namespaces(self) -> NamespaceTable:
        """Namespaces and their members."""

    @property
    def tokens(self) -> TokenTable:
        """Tokens by the sha256 of their secrets."""

    @property
    def protections(self) -> ProtectionTable:
        """Rules for refs."""

    @property
    def audit(self) -> AuditTable:
        """The log of all changes."""

    @property
    def events(self) -> EventTable:
        """The events that are kept."""

    @property
    def webhooks(self) -> WebhookTable:
        """Where events are sent."""

    @property
    def deliveries(self) -> DeliveryTable:
        """Events on their way to webhooks."""

    @property
    def held(self) -> HeldTable:
        """What repositories name and hold, as a whole."""

    @property
    def marks(self) -> MarkTable:
        """Since when something is garbage."""

    @property
    def condemned(self) -> CondemnedTable:
        """Objects that are being deleted."""

    @property
    def remains(self) -> RemainsTable:
        """What nothing holds."""

    @property
    def inspection(self) -> InspectionTable:
        """All rows, a part at a time."""

    @property
    def usage(self) -> UsageTable:
        """What namespaces hold."""

    @property
    def tallies(self) -> TallyTable:
        """How much there is of what is limited."""

    @property
    def journal(self) -> JournalTable:
        """Which repositories the journal of refs has yet to hear of."""

    @property
    def jobs(self) -> JobTable:
        """What is done by processes of its own."""

    @property
    def expected(self) -> ExpectedTable:
        """What merges of commits shall give."""

    @property
    def validations(self) -> ValidationTable:
        """What validators saw of commits."""

    @property
    def attestations(self) -> AttestationTable:
        """What validators signed about commits."""

    @property
    def validator_keys(self) -> ValidatorKeyTable:
        """The public keys of validators."""


class Database(Protocol):
    """Transactions over the records."""

    def read(self) -> AbstractContextManager[Records]:
        """Open a consistent view."""

    def write(self) -> AbstractContextManager[Records]:
        """Open one transaction: committed at the end of the block, rolled back by an exception.

        Raises:
            Unavailable: `busy`, it lost against another one, or waited for others for too long.
        """

    def transact(self, work: Callable[[Records], T]) -> T:
        """Run `work` in one write transaction and return what it returns.

        Where the database says that the transaction lost against another one, `work` runs again
        from the start: it has no effects but those on the records.

        Raises:
            Unavailable: `busy`, others held the database for too long.
        """
