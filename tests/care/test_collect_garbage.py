"""Garbage goes after its grace, and nothing else does."""

from datetime import timedelta

import pytest

from care.worlds import NOTHING, World
from plait.errors import Conflict, NotFound, Unavailable
from plait.model.address import RepositoryName
from plait.model.ids import ObjectId, hash_bytes
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.adapters.memory_objects import MemoryObjects
from plait_registry.domain.access import SYSTEM
from plait_registry.services.repositories import DeleteRepository
from reference.memory_registry import NAME, WEIGHTS, Version, make_version

WEEK = timedelta(days=7)
FORTNIGHT = timedelta(days=14)
BIG = b"x" * 200_000


def weights_of(version: Version) -> ObjectId:
    return next(
        ObjectId(file["sha256"]) for file in version.manifest["files"] if file["path"] == WEIGHTS
    )


def test_what_refs_reach_stays_whatever_the_grace(world: World) -> None:
    first = make_version("first")
    second = make_version("second", first.id)
    world.publish(first, second)
    before = world.stored()
    report = world.collect()
    assert world.stored() == before
    assert report.objects == report.commits == 0
    world.verify_version(first)
    world.verify_version(second)


def test_deleted_branch_goes_after_two_graces(world: World) -> None:
    kept, dropped = make_version("kept"), make_version("dropped")
    world.publish(kept)
    before = world.stored()
    world.publish(dropped, branch="dev")
    world.delete_branch("dev")
    world.collect(grace=FORTNIGHT)
    world.clock.move(WEEK)
    world.collect(grace=FORTNIGHT)
    world.verify_version(dropped)
    world.clock.move(WEEK)
    report = world.collect(grace=FORTNIGHT)
    assert [(it.name, it.commits) for it in report.repositories] == [("team/sql", 1)]
    assert report.objects == 0
    with pytest.raises(NotFound):
        world.verify_version(dropped)
    world.clock.move(FORTNIGHT)
    assert world.collect(grace=FORTNIGHT).objects > 0
    assert world.stored() == before
    world.verify_version(kept)


def test_commit_that_is_reached_again_begins_a_new_grace(world: World) -> None:
    world.publish(make_version("kept"))
    dropped = make_version("dropped")
    world.publish(dropped, branch="dev")
    world.delete_branch("dev")
    world.collect(grace=FORTNIGHT)
    world.tag("v1", dropped.id)
    world.clock.move(FORTNIGHT)
    world.collect(grace=FORTNIGHT)
    world.verify_version(dropped)


def test_dry_run_says_what_would_go_and_changes_nothing(world: World) -> None:
    world.publish(make_version("kept"))
    dropped = make_version("dropped")
    world.publish(dropped, branch="dev")
    world.delete_branch("dev")
    before = world.stored()
    report = world.collect(sweep=False)
    (found,) = report.repositories
    assert (found.commits, found.files, report.swept) == (1, 1, False)
    assert found.bytes == len(dropped.contents[weights_of(dropped)])
    assert world.stored() == before
    world.verify_version(dropped)
    swept = world.collect()
    assert swept.repositories == report.repositories


def test_no_grace_takes_everything_in_one_run(world: World) -> None:
    world.publish(make_version("dropped"), branch="dev")
    world.delete_branch("dev")
    report = world.collect()
    assert not world.stored()
    assert (report.commits, report.manifests, report.files) == (1, 1, 2)
    assert world.collect().objects == 0


def test_deleted_repository_goes(world: World) -> None:
    other = world.make_repository(RepositoryName("team", "other"))
    shared = make_version("shared")
    world.publish(shared)
    world.publish(shared, make_version("own", shared.id), name=other)
    DeleteRepository(world.data, world.clock)(SYSTEM, other)
    world.collect()
    world.verify_version(shared)
    assert world.stored() == world.needed()


def test_abandoned_push_goes_with_its_uploads(world: World) -> None:
    plan = world.begin(make_version("never"))
    world.upload(plan, make_version("never"))
    assert world.stored()
    assert world.collect(grace=WEEK).pushes == 0
    world.clock.move(WEEK)
    assert world.collect(grace=WEEK).pushes == 1
    world.clock.move(WEEK)
    assert world.collect(grace=WEEK).uploads == 2
    world.clock.move(WEEK)
    world.collect(grace=WEEK)
    assert not world.stored()
    with pytest.raises(NotFound) as caught:
        world.complete(plan)
    assert caught.value.kind == "push-not-found"


def test_push_that_reuses_a_swept_file_is_told_to_push_again(world: World) -> None:
    dropped = make_version("old", tensors={"a": BIG})
    world.publish(dropped, branch="dev")
    world.delete_branch("dev")
    again = make_version("new", tensors={"a": BIG})
    plan = world.begin(again)
    assert plan.files == []
    # The grace protects what an open push names; a file that another repository held is not its.
    world.clock.move(WEEK)
    world.data.transact(
        lambda records: records.held.unlink_files(
            records.repositories.get(NAME).id, [weights_of(again)]
        )
    )
    world.collect(grace=timedelta(days=1))
    world.collect()
    with pytest.raises(NotFound):
        world.complete(plan)
    world.publish(again)
    world.verify_version(again)


def test_condemned_object_cannot_be_announced_until_it_is_gone(world: World) -> None:
    version = make_version("late")
    plan = world.begin(version)
    objects = world.announce(plan, version)
    condemned = ObjectId(objects[0].sha256)
    world.data.transact(lambda records: records.condemned.put([condemned], world.clock.now()))
    with pytest.raises(Unavailable) as caught:
        world.sign(plan, objects)
    assert caught.value.kind == "busy"
    world.collect(grace=WEEK)
    with pytest.raises(Unavailable):
        world.sign(plan, objects)
    world.clock.move(timedelta(hours=1))
    world.collect(grace=WEEK)
    world.upload(plan, version)
    world.complete(plan)
    world.verify_version(version)


def test_document_that_is_condemned_cannot_be_written(world: World) -> None:
    version = make_version("first")
    plan = world.begin(version)
    world.upload(plan, version)
    document = ObjectId(version.id)
    world.data.transact(lambda records: records.condemned.put([document], world.clock.now()))
    with pytest.raises(Unavailable):
        world.complete(plan)
    world.data.transact(lambda records: records.condemned.remove([document]))
    world.complete(plan)
    world.verify_version(version)


def test_held_objects_stay_until_the_hold_ends(world: World) -> None:
    world.publish(make_version("dropped"), branch="dev")
    world.delete_branch("dev")
    before = world.stored()
    world.data.transact(lambda records: records.condemned.hold("backup", "2026-01-01T01:00:00Z"))
    assert world.collect().held
    assert world.stored() == before
    world.clock.move(timedelta(hours=2))
    assert not world.collect().held
    assert not world.stored()


@pytest.mark.parametrize("place", ["store", "documents"])
def test_unknown_object_of_the_store_goes_after_its_grace(world: World, place: str) -> None:
    stray = hash_bytes(b"stray")
    getattr(world, place).put(stray, b"stray")
    assert world.collect(grace=WEEK).waiting_objects == 1
    world.clock.move(WEEK)
    assert world.collect(grace=WEEK).object_bytes == len(b"stray")
    assert not world.stored()


@pytest.mark.parametrize("place", ["store", "documents"])
def test_run_over_an_empty_database_refuses_to_empty_the_store(world: World, place: str) -> None:
    world.publish(make_version("kept"))
    kept: dict[str, MemoryObjects] = {place: getattr(world, place)}
    collector = World(store=kept.get("store"), documents=kept.get("documents")).collector
    collector._database = MemoryDatabase()
    with pytest.raises(Conflict) as caught:
        collector(grace=NOTHING, sweep=True)
    assert caught.value.kind == "database-empty"
    assert world.stored()


def test_documents_of_the_version_before_go_with_their_commit(world: World) -> None:
    kept = make_version("kept")
    world.publish(kept)
    world.publish(make_version("dropped"), branch="dev")
    world.move_documents_to_objects()
    # Pushed again, its documents lie in both places.
    world.publish(make_version("dropped"), branch="again")
    world.collect()
    world.verify_version(kept)
    world.delete_branch("dev")
    world.delete_branch("again")
    world.collect()
    world.verify_version(kept)
    assert world.stored() == world.needed()


def test_deletion_that_was_cut_off_is_finished_in_both_stores(world: World) -> None:
    world.publish(make_version("kept"))
    stray = hash_bytes(b"stray")
    for store in world.stores.all:
        store.put(stray, b"stray")
    world.data.transact(lambda records: records.condemned.put([stray], world.clock.now()))
    world.clock.move(timedelta(hours=1))
    world.collect(grace=WEEK)
    assert stray not in world.stored()
    with world.data.read() as records:
        assert not records.condemned.list()


def test_untagged_weights_expire_and_come_back_with_a_push(world: World) -> None:
    first = make_version("first")
    second = make_version("second", first.id)
    world.publish(first, second)
    world.data.transact(
        lambda records: records.namespaces.update("team", quota_bytes=None, keep_untagged_days=30)
    )
    world.collect()
    world.clock.move(timedelta(days=30))
    report = world.collect()
    assert report.repositories[0].expired_files == 1
    world.verify_version(second)
    with pytest.raises(NotFound) as caught:
        world.read_file(weights_of(first))
    assert caught.value.kind == "file-expired"
    world.publish(first, branch="again")
    world.verify_version(first)


def test_tag_keeps_weights_from_expiring(world: World) -> None:
    first = make_version("first")
    world.publish(first, make_version("second", first.id))
    world.tag("v1", first.id)
    world.data.transact(
        lambda records: records.namespaces.update("team", quota_bytes=None, keep_untagged_days=0)
    )
    world.collect()
    world.collect()
    world.verify_version(first)


def test_push_that_failed_in_a_deleted_repository_leaves_nothing(world: World) -> None:
    other = world.make_repository(RepositoryName("team", "other"))
    first, second = make_version("first"), make_version("second")
    plans = [(world.begin(it, name=other), it) for it in (first, second)]
    for plan, version in plans:
        world.upload(plan, version, other)
    world.complete(plans[0][0], other)
    with pytest.raises(Conflict):
        world.complete(plans[1][0], other)
    DeleteRepository(world.data, world.clock)(SYSTEM, other)
    world.collect()
    assert not world.stored()
