"""A registry with a clock that moves, over any database and a store in memory."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from plait import wire
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId
from plait.model.refs import RefKind, RefName
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.adapters.memory_objects import MemoryObjects, MemoryTransfers
from plait_registry.domain.access import SYSTEM
from plait_registry.domain.moments import shift
from plait_registry.domain.ports import Database
from plait_registry.services.collect_garbage import CollectGarbage
from plait_registry.services.files import ReadFiles
from plait_registry.services.garbage_report import GarbageReport
from plait_registry.services.history import ReadHistory
from plait_registry.services.push import Push
from plait_registry.services.refs import CreateRef, DeleteRef, ListRefs
from plait_registry.services.repositories import CreateRepository
from plait_registry.services.stores import Stores
from reference.memory_registry import NAME, MemoryRegistry, Version

NOTHING = timedelta(0)


class MovingClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self._now = "2026-01-01T00:00:00Z"

    def now(self) -> str:
        """Return the time that it was moved to."""
        return self._now

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self._now = shift(self._now, by)


class World(MemoryRegistry):
    """A registry whose parts a test can reach."""

    def __init__(
        self,
        database: Database | None = None,
        *,
        stepped: tuple[Database, Stores] | None = None,
        store: MemoryObjects | None = None,
        documents: MemoryObjects | None = None,
        empty: bool = False,
    ) -> None:
        self.clock = MovingClock()
        self.data: Database = MemoryDatabase() if database is None else database
        self.store = MemoryObjects() if store is None else store
        self.documents = MemoryObjects() if documents is None else documents
        self.stores = Stores(self.store, self.documents)
        self.transfers = MemoryTransfers(self.store)
        seen_database, seen_stores = stepped or (self.data, self.stores)
        self.service = Push(seen_database, seen_stores, self.transfers, self.clock)
        self.collector = CollectGarbage(seen_database, seen_stores, self.transfers, self.clock)
        if not empty:
            self.make_repository(NAME)

    def make_repository(self, name: RepositoryName) -> RepositoryName:
        """Make a repository."""
        CreateRepository(self.data, self.clock)(SYSTEM, name, "", private=False)
        return name

    def publish(
        self,
        *versions: Version,
        branch: str = "main",
        name: RepositoryName = NAME,
        force: bool = False,
    ) -> wire.PushResult:
        """Push from begin to complete, on whatever the branch points at."""
        wish = {"branch": branch, "expected": self.head(branch, name), "force": force}
        plan = self.begin(*versions, name=name, **wish)
        for version in versions:
            self.upload(plan, version, name)
        return self.complete(plan, name)

    def head(self, branch: str, name: RepositoryName = NAME) -> CommitId | None:
        """Return what a branch or tag points at."""
        _, refs = ListRefs(self.data)(SYSTEM, name)
        return next((ref.target for ref in refs if ref.name == branch), None)

    def tag(self, tag: str, commit: str, name: RepositoryName = NAME) -> None:
        """Make a tag."""
        CreateRef(self.data, self.clock)(SYSTEM, name, RefKind.TAG, RefName(tag), commit)

    def delete_branch(self, branch: str, name: RepositoryName = NAME) -> None:
        """Delete a branch."""
        head = self.head(branch, name)
        if head is not None:
            delete = DeleteRef(self.data, self.clock)
            delete(SYSTEM, name, RefKind.BRANCH, RefName(branch), head)

    def delete_tag(self, tag: str, name: RepositoryName = NAME) -> None:
        """Delete a tag, whose name is retired."""
        target = self.head(tag, name)
        if target is not None:
            DeleteRef(self.data, self.clock)(SYSTEM, name, RefKind.TAG, RefName(tag), target)

    def collect(self, *, grace: timedelta = NOTHING, sweep: bool = True) -> GarbageReport:
        """Collect garbage."""
        return self.collector(grace=grace, sweep=sweep)

    def read_file(self, file: ObjectId, name: RepositoryName = NAME) -> bytes:
        """Return the bytes of a file as a client gets them."""
        plan = ReadFiles(self.data, self.transfers).downloads(SYSTEM, name, [file])
        ((_, parts),) = plan.files
        return b"".join(
            self.store.get(extent.object)[extent.offset :][: extent.size] for _, extent in parts
        )

    def verify_version(self, version: Version, name: RepositoryName = NAME) -> None:
        """Check that every byte of a version can be read."""
        row = ReadHistory(self.data).resolve(SYSTEM, name, version.id)
        assert row.id == version.id
        assert self.stores.stat(ObjectId(row.id), is_document=True) is not None
        assert self.stores.stat(ObjectId(row.manifest), is_document=True) is not None
        for file, data in version.contents.items():
            assert self.read_file(file, name) == data

    def move_documents_to_objects(self) -> None:
        """Put documents where programs of the version before kept them."""
        self.store.objects.update(self.documents.objects)
        self.documents.objects.clear()

    def stored(self) -> Collection[ObjectId]:
        """Return all objects and documents of the stores."""
        return frozenset({*self.store.objects, *self.documents.objects})

    def needed(self) -> Collection[ObjectId]:
        """Return those of them that a row needs."""
        with self.data.read() as records:
            return records.remains.find_needed(self.stored())
