"""fsck finds each kind of damage, says whom it affects, and repairs what can be repaired."""

import pytest

from care.worlds import World
from plait.errors import NotFound
from plait.model.ids import ObjectId, hash_bytes
from plait_registry.domain.inspection import Finding, FindingKind
from plait_registry.services.check_store import CheckStore, Depth
from plait_registry.services.repair_store import RepairReport, RepairStore
from reference.memory_registry import NAME, WEIGHTS, Version, make_version

FULL = Depth(1.0)


def check(world: World, depth: Depth = FULL) -> list[Finding]:
    return list(CheckStore(world.data, world.stores, world.clock)(depth))


def repair(world: World) -> RepairReport:
    return RepairStore(world.data, world.stores, world.clock)(check(world))


def weights_object(world: World, version: Version) -> ObjectId:
    file = next(it["sha256"] for it in version.manifest["files"] if it["path"] == WEIGHTS)
    with world.data.read() as records:
        (extents,) = records.files.load_extents(None, [file]).values()
    return extents[0].object


@pytest.fixture
def version() -> Version:
    return make_version("the version")


@pytest.fixture
def world(world: World, version: Version) -> World:
    """A registry that holds the version."""
    world.publish(version)
    return world


def test_sound_registry_has_no_findings(world: World) -> None:
    assert check(world) == []


def test_missing_object_is_found_with_the_repository_and_comes_back_with_a_push(
    world: World, version: Version
) -> None:
    item = weights_object(world, version)
    world.store.delete(item)
    (finding,) = check(world, Depth())
    assert (finding.kind, finding.subject) == (FindingKind.OBJECT_MISSING, item)
    assert finding.repositories == (str(NAME),)
    assert finding.is_damage
    assert repair(world).objects == 1
    assert not any(finding.is_damage for finding in check(world))
    with pytest.raises(NotFound):
        world.verify_version(version)
    world.publish(version, branch="again")
    world.verify_version(version)
    assert not any(finding.is_damage for finding in check(world))


def test_object_with_wrong_bytes_is_found_by_a_full_check_only(
    world: World, version: Version
) -> None:
    item = weights_object(world, version)
    world.store.objects[item] = bytes(len(world.store.objects[item]))
    assert check(world, Depth()) == []
    (finding,) = check(world)
    assert finding.kind is FindingKind.OBJECT_CORRUPT
    repair(world)
    world.publish(version, branch="again")
    world.verify_version(version)


def test_object_that_is_cut_off_is_found(world: World, version: Version) -> None:
    item = weights_object(world, version)
    world.store.objects[item] = world.store.objects[item][:-1]
    (finding,) = check(world, Depth())
    assert finding.kind is FindingKind.OBJECT_SIZE


@pytest.mark.parametrize("which", ["commit", "manifest", "extents"])
def test_lost_document_is_written_anew(world: World, version: Version, which: str) -> None:
    with world.data.read() as records:
        row = records.inspection.page_files("", 1)[0]
    assert row.document is not None
    manifest = ObjectId(version.commit["manifest"])
    item = {"commit": ObjectId(version.id), "manifest": manifest, "extents": row.document}[which]
    body = world.documents.get(item)
    world.documents.delete(item)
    (finding,) = check(world, Depth())
    assert finding.kind is FindingKind.DOCUMENT_MISSING
    assert repair(world).documents == 1
    assert world.documents.get(item) == body
    world.documents.objects[item] = b"{}"
    assert [it.kind for it in check(world)] == [FindingKind.DOCUMENT_CORRUPT]
    repair(world)
    assert world.documents.get(item) == body
    assert item not in world.store.objects


def test_documents_of_the_version_before_count_where_they_lie(
    world: World, version: Version
) -> None:
    world.move_documents_to_objects()
    assert check(world) == []
    item = ObjectId(version.id)
    world.store.objects[item] = b"{}"
    assert [it.kind for it in check(world)] == [FindingKind.DOCUMENT_CORRUPT]
    assert repair(world).documents == 1
    assert list(world.documents.objects) == [item]
    assert check(world) == []


@pytest.mark.parametrize("place", ["store", "documents"])
def test_stray_object_is_garbage_and_no_damage(world: World, place: str) -> None:
    getattr(world, place).put(hash_bytes(b"stray"), b"stray")
    (finding,) = check(world)
    assert finding.kind is FindingKind.STRAY_OBJECT
    assert not finding.is_damage


def test_lost_link_of_a_file_is_found(world: World, version: Version) -> None:
    file = ObjectId(version.manifest["files"][1]["sha256"])
    world.data.transact(
        lambda records: records.held.unlink_files(records.repositories.get(NAME).id, [file])
    )
    assert [it.kind for it in check(world)] == [FindingKind.FILE_MISSING]


def test_sample_is_the_same_for_the_same_seed() -> None:
    ids = [hash_bytes(bytes([number])) for number in range(200)]
    chosen = [item for item in ids if Depth(0.3, "a").chooses(item)]
    assert chosen == [item for item in ids if Depth(0.3, "a").chooses(item)]
    assert chosen != [item for item in ids if Depth(0.3, "b").chooses(item)]
    assert 30 < len(chosen) < 90
    assert all(Depth(1.0).chooses(item) for item in ids)
    assert not any(Depth(0.0).chooses(item) for item in ids)
