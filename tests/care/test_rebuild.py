"""The store alone brings back repositories, tags and commits, byte for byte."""

import pytest

from care.worlds import World
from plait.errors import Conflict
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.ids import ObjectId, hash_bytes
from plait.model.repository_kind import RepositoryKind
from plait_registry.adapters.memory_objects import MemoryObjects
from plait_registry.domain.access import SYSTEM, Readable
from plait_registry.domain.bases import BaseQuery
from plait_registry.services.check_store import CheckStore, Depth
from plait_registry.services.journal_refs import JournalRefs
from plait_registry.services.list_bases import ListBases
from plait_registry.services.rebuild import Rebuild, RebuildReport
from plait_registry.services.refs import ListRefs
from plait_registry.services.repositories import CreateRepository, DeleteRepository
from reference.bases import TENSORS, make_base
from reference.memory_registry import NAME, make_version
from reference.stacks import make_stack

OTHER = RepositoryName("team", "other")
BIG = {"a": b"a" * 70_000, "b": b"b" * 70_000}


@pytest.fixture
def journal() -> MemoryObjects:
    return MemoryObjects()


def write_journal(world: World, journal: MemoryObjects) -> int:
    return JournalRefs(world.data, journal, world.clock)()


def rebuild(world: World, journal: MemoryObjects) -> tuple[World, RebuildReport]:
    """Return a registry with a new database over the old store."""
    fresh = World(store=world.store, documents=world.documents, empty=True)
    report = Rebuild(fresh.data, fresh.stores, fresh.transfers, journal, fresh.clock)()
    return fresh, report


def test_rebuilt_registry_has_the_same_refs_and_bytes(journal: MemoryObjects) -> None:
    world = World()
    world.make_repository(OTHER)
    first = make_version("first", tensors=BIG)
    # Shares its large tensor with the first: its file is a list of extents.
    second = make_version("second", first.id, tensors={**BIG, "b": b"c" * 10})
    merged = make_version("merge", second.id, first.id)
    world.publish(first, second, merged)
    world.publish(first, name=OTHER, branch="dev")
    world.tag("v1", first.id)
    world.tag("v2", second.id)
    write_journal(world, journal)
    before = [ListRefs(world.data)(SYSTEM, name)[1] for name in (NAME, OTHER)]
    fresh, report = rebuild(world, journal)
    assert report.failed == []
    assert (report.repositories, report.refs) == (2, 4)
    assert [ListRefs(fresh.data)(SYSTEM, name)[1] for name in (NAME, OTHER)] == before
    for version in (first, second, merged):
        fresh.verify_version(version)
    fresh.verify_version(first, OTHER)
    check = CheckStore(fresh.data, fresh.stores, fresh.clock)
    assert [it for it in check(Depth(1.0)) if it.is_damage] == []
    fresh.publish(make_version("next", merged.id))
    assert fresh.collect().commits == 0


def test_rebuilt_registry_knows_a_stack_from_an_adapter(journal: MemoryObjects) -> None:
    world = World()
    first = make_version("first")
    stack = make_stack("stack", first.id)
    world.publish(first, stack)
    write_journal(world, journal)
    fresh, report = rebuild(world, journal)
    assert report.failed == []
    with fresh.data.read() as records:
        repository = records.repositories.get(NAME)
        rows = records.commits.load(repository.id, [first.id, stack.id])
    assert [rows[version.id].adapter_type for version in (first, stack)] == ["LORA", "STACK"]


def test_deleted_repository_and_retired_tag_do_not_come_back(journal: MemoryObjects) -> None:
    world = World()
    world.make_repository(OTHER)
    version = make_version("first")
    world.publish(version)
    world.publish(version, name=OTHER)
    world.tag("v1", version.id)
    write_journal(world, journal)
    world.delete_tag("v1")
    DeleteRepository(world.data, world.clock)(SYSTEM, OTHER)
    write_journal(world, journal)
    fresh, report = rebuild(world, journal)
    assert report.repositories == 1
    assert fresh.head("v1") is None
    with pytest.raises(Conflict) as caught:
        fresh.tag("v1", version.id)
    assert caught.value.kind == "tag-name-retired"


def test_journal_goes_on_where_the_old_one_ended(journal: MemoryObjects) -> None:
    world = World()
    version = make_version("first")
    world.publish(version)
    write_journal(world, journal)
    fresh, _ = rebuild(world, journal)
    fresh.tag("v1", version.id)
    assert write_journal(fresh, journal) == 1
    assert write_journal(fresh, journal) == 0
    again, _ = rebuild(fresh, journal)
    assert again.head("v1") == version.id


def test_repository_of_which_something_is_missing_is_reported(journal: MemoryObjects) -> None:
    world = World()
    world.make_repository(OTHER)
    lost, kept = make_version("lost"), make_version("kept")
    world.publish(lost)
    world.publish(kept, name=OTHER)
    write_journal(world, journal)
    world.documents.delete(ObjectId(lost.commit["manifest"]))
    fresh, report = rebuild(world, journal)
    assert report.repositories == 1
    (reason,) = report.failed
    assert reason.startswith("team/sql: ")
    fresh.verify_version(kept, OTHER)


def test_forged_document_of_extents_does_not_stand(journal: MemoryObjects) -> None:
    world = World()
    version = make_version("first")
    world.publish(version)
    write_journal(world, journal)
    file = version.manifest["files"][1]
    forged = canonical.dumps(
        {
            "extents": [{"object": version.id, "offset": 0, "size": file["size"]}],
            "file": file["sha256"],
            "format": "plait.extents/1",
            "size": file["size"],
        }
    )
    world.store.put(hash_bytes(forged), forged)
    fresh, report = rebuild(world, journal)
    assert report.failed == []
    fresh.verify_version(version)


def test_documents_of_the_version_before_are_found_among_the_objects(
    journal: MemoryObjects,
) -> None:
    world = World()
    version = make_version("first", tensors=BIG)
    world.publish(version)
    write_journal(world, journal)
    world.move_documents_to_objects()
    fresh, report = rebuild(world, journal)
    assert report.failed == []
    fresh.verify_version(version)


def test_bases_come_back_as_bases(journal: MemoryObjects) -> None:
    world = World()
    llama = RepositoryName("team", "llama")
    CreateRepository(world.data, world.clock)(SYSTEM, llama, "", kind=RepositoryKind.BASE)
    version = make_base("base", weights=TENSORS)
    world.publish(version, name=llama)
    world.publish(make_version("adapter"))
    write_journal(world, journal)
    query = BaseQuery(Readable.by(SYSTEM))
    before = ListBases(world.data)(query)
    fresh, report = rebuild(world, journal)
    assert report.failed == []
    fresh.verify_version(version, llama)
    assert ListBases(fresh.data)(query) == before
    assert len(before) == 1
    with fresh.data.read() as records:
        kinds = [records.repositories.get(name).kind for name in (llama, NAME)]
    assert kinds == [RepositoryKind.BASE, RepositoryKind.ADAPTER]


def test_rebuild_of_a_database_in_use_is_refused(journal: MemoryObjects) -> None:
    world = World()
    with pytest.raises(Conflict) as caught:
        Rebuild(world.data, world.stores, world.transfers, journal, world.clock)()
    assert caught.value.kind == "database-not-empty"
