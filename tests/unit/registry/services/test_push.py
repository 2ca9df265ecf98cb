"""Pushing, step by step: what is asked for, what is made visible, and when."""

import pytest
from typing_extensions import override

from plait import wire
from plait.errors import Conflict, InvalidInput, NotFound, TooLarge
from plait.model.ids import CommitId, ObjectId, hash_bytes
from plait.model.manifest import Manifest
from plait.model.part_sizes import PartSizes
from plait_registry.adapters.memory_objects import MemoryObjects, MemoryTransfers
from plait_registry.domain.dedup import SALT_SIZE
from plait_registry.services import push as service
from reference.memory_registry import NAME, WEIGHTS, MemoryRegistry, make_version

PARTS = PartSizes(largest_whole=64, part=64)
LARGE = 200_000


def sizes_of(registry: MemoryRegistry, file: str) -> list[int]:
    """Return the sizes of a file's extents."""
    with registry.database.read() as records:
        return [
            extent.size
            for extent in records.files.load_extents(None, [ObjectId(file)])[ObjectId(file)]
        ]


def test_nothing_is_visible_before_the_push_completes() -> None:
    registry = MemoryRegistry()
    version = make_version("one")
    plan = registry.begin(version)
    registry.upload(plan, version)
    assert registry.target() is None
    with registry.database.read() as records:
        repository = records.repositories.get(NAME)
        assert records.commits.load(repository.id, [version.id]) == {}
    result = registry.complete(plan)
    assert result.ref.target == registry.target() == version.id
    sizes = [len(data) + SALT_SIZE for data in version.contents.values()]
    assert (result.commits, result.bytes_stored) == (1, sum(sizes))


def test_completing_again_gets_the_same_answer() -> None:
    registry = MemoryRegistry()
    version = make_version("one")
    plan = registry.begin(version)
    registry.upload(plan, version)
    assert registry.complete(plan) == registry.complete(plan)


def test_commits_and_manifests_are_in_the_store_too_apart_from_objects() -> None:
    registry = MemoryRegistry()
    version = make_version("one")
    registry.push(version)
    for document in (version.id, version.commit["manifest"]):
        assert hash_bytes(registry.documents.get(ObjectId(document))) == document
        assert registry.store.stat(ObjectId(document)) is None


def test_files_that_are_stored_are_not_asked_for() -> None:
    registry = MemoryRegistry()
    first = make_version("one")
    registry.push(first)
    second = make_version("two", first.id, tensors={"a": b"one"})
    plan = registry.begin(second, expected=first.id)
    assert plan.files == []
    assert registry.complete(plan).bytes_stored == 0


def test_only_tensors_that_changed_are_asked_for_and_the_file_is_joined() -> None:
    registry = MemoryRegistry()
    frozen = bytes(LARGE)
    first = make_version("one", tensors={"a": b"old", "b": frozen})
    registry.push(first)
    second = make_version("two", first.id, tensors={"a": b"new", "b": frozen})
    plan = registry.begin(second, expected=first.id)
    assert registry.upload(plan, second) < LARGE
    registry.complete(plan)
    (weights,) = (file for file in second.manifest["files"] if file["path"] == WEIGHTS)
    assert len(sizes_of(registry, weights["sha256"])) > 1


def test_two_pushes_that_store_one_file_differently_keep_one_layout() -> None:
    registry = MemoryRegistry()
    frozen = bytes(LARGE)
    target = make_version("target", tensors={"a": b"new", "b": frozen})
    whole = registry.begin(target, branch="whole")
    registry.upload(whole, target)
    registry.push(make_version("one", tensors={"a": b"old", "b": frozen}))
    other = registry.create(type(NAME)("team", "other"))
    parts = registry.begin(target, name=other)
    registry.upload(parts, target, other)
    registry.complete(parts, other)
    registry.complete(whole)
    (weights,) = (file for file in target.manifest["files"] if file["path"] == WEIGHTS)
    assert sum(sizes_of(registry, weights["sha256"])) == weights["size"]


def test_parts_that_arrived_before_an_interruption_are_not_asked_for_again() -> None:
    registry = MemoryRegistry(PARTS)
    version = make_version("one", tensors={"a": bytes(1000)})
    interrupted = registry.begin(version)
    arrived = registry.upload(interrupted, version, most=128)
    assert arrived > 0
    plan = registry.begin(version)
    total = sum(len(data) + SALT_SIZE for data in version.contents.values())
    assert registry.upload(plan, version) == total - arrived
    assert registry.complete(plan).commits == 1


class Overtaken(MemoryTransfers):
    """Transfers at the moment when another client announces the same object."""

    registry: MemoryRegistry | None = None
    others: list[wire.Upload]

    @override
    def begin_upload(self, object_id: ObjectId, size: int) -> str:
        registry, self.registry = self.registry, None
        if registry is not None:
            version = make_version("one", tensors={"a": bytes(500)})
            plan = registry.begin(version, branch="other")
            self.others = registry.sign(plan, registry.announce(plan, version))
        return super().begin_upload(object_id, size)


def test_two_clients_that_send_one_object_at_once_complete_each_others_parts() -> None:
    store = MemoryObjects()
    transfers = Overtaken(store, PARTS)
    registry = MemoryRegistry(store=store, transfers=transfers)
    version = make_version("one", tensors={"a": bytes(500)})
    plan = registry.begin(version)
    transfers.registry = registry
    mine = registry.sign(plan, registry.announce(plan, version))
    bodies = registry.bodies(plan, version)
    for upload in mine:
        registry.send(upload, bodies[ObjectId(upload.sha256)])
    assert registry.complete(plan).commits == 1


def test_push_to_a_moved_branch_is_refused_before_bytes_are_sent() -> None:
    registry = MemoryRegistry()
    first = make_version("one")
    registry.push(first)
    with pytest.raises(Conflict) as caught:
        registry.begin(make_version("two"))
    assert caught.value.kind == "ref-update-conflict"
    assert caught.value.details["actual"] == first.id


def test_branch_that_moves_while_bytes_are_sent_keeps_its_place() -> None:
    registry = MemoryRegistry()
    slow, quick = make_version("slow"), make_version("quick")
    plan = registry.begin(slow)
    registry.upload(plan, slow)
    registry.push(quick)
    with pytest.raises(Conflict):
        registry.complete(plan)
    assert registry.target() == quick.id


def test_move_that_leaves_commits_behind_needs_force() -> None:
    registry = MemoryRegistry()
    first, second = make_version("one"), make_version("two")
    registry.push(first)
    with pytest.raises(Conflict) as caught:
        registry.push(second, expected=first.id)
    assert caught.value.kind == "ref-not-fast-forward"
    registry.push(second, expected=first.id, force=True)
    assert registry.target() == second.id


def test_commits_staged_after_the_first_call_are_part_of_the_push() -> None:
    registry = MemoryRegistry()
    first = make_version("one")
    second = make_version("two", first.id)
    plan = registry.begin(first, new=second.id)
    registry.upload(plan, first)
    more = registry.stage(plan, second)
    registry.upload(more, second)
    assert registry.complete(plan).commits == 2
    assert registry.target() == second.id


def test_push_that_is_complete_takes_no_more_commits() -> None:
    registry = MemoryRegistry()
    first = make_version("one")
    plan = registry.begin(first)
    registry.upload(plan, first)
    registry.complete(plan)
    with pytest.raises(Conflict) as caught:
        registry.stage(plan, make_version("two", first.id))
    assert caught.value.kind == "push-superseded"
    with pytest.raises(Conflict):
        registry.sign(plan, [])


def test_commit_whose_parent_is_unknown_is_refused() -> None:
    registry = MemoryRegistry()
    orphan = make_version("orphan", CommitId(hash_bytes(b"nowhere")))
    plan = registry.begin(orphan)
    registry.upload(plan, orphan)
    with pytest.raises(InvalidInput) as caught:
        registry.complete(plan)
    assert caught.value.kind == "parent-unknown"


def test_push_of_another_repository_is_not_found() -> None:
    registry = MemoryRegistry()
    plan = registry.begin(make_version("one"))
    other = registry.create(type(NAME)("team", "other"))
    with pytest.raises(NotFound) as caught:
        registry.complete(plan, other)
    assert caught.value.kind == "push-not-found"


def test_object_that_belongs_to_no_file_of_the_push_is_refused() -> None:
    registry = MemoryRegistry()
    plan = registry.begin(make_version("one"))
    stranger = hash_bytes(b"stranger")
    with pytest.raises(InvalidInput, match="belongs to no file"):
        registry.sign(plan, [wire.NewObject(stranger, [(0, 8)], stranger, 8)])


def test_more_than_a_call_may_carry_is_refused() -> None:
    registry = MemoryRegistry()
    version = make_version("one")
    note = wire.PushNote(version.id, "metrics", {})
    with pytest.raises(TooLarge):
        registry.begin(version, notes=[note] * (service.MOST_NOTES_PER_PUSH + 1))
    with pytest.raises(TooLarge):
        registry.begin(*[version] * (wire.MOST_COMMITS_PER_CALL + 1))
    plan = registry.begin(version)
    wanted = registry.announce(plan, version)[:1]
    with pytest.raises(TooLarge):
        registry.sign(plan, wanted * (wire.MOST_FILES_PER_CALL + 1))


def test_only_manifests_that_name_a_wanted_file_are_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = MemoryRegistry()
    versions = [make_version(f"version {number}") for number in range(20)]
    plan = registry.begin(*versions)
    wanted = [item for item in registry.announce(plan, versions[3]) if item.size != 26 + SALT_SIZE]
    parsed = []

    class Counted(Manifest):
        @classmethod
        @override
        def from_json(cls, value: object) -> Manifest:
            parsed.append(value)
            return Manifest.from_json(value)

    monkeypatch.setattr(service, "Manifest", Counted)
    registry.sign(plan, wanted)
    assert len(parsed) == 1


def test_file_with_the_digest_of_a_tensor_is_found() -> None:
    registry = MemoryRegistry()
    first = make_version("one", tensors={"a": b"x", "empty": b""})
    second = make_version("two", first.id, more={"empty.txt": b""})
    plan = registry.begin(first, second)
    registry.upload(plan, second)
    registry.upload(plan, first)
    assert registry.complete(plan).commits == 2


def test_notes_of_a_push_hang_on_its_commits() -> None:
    registry = MemoryRegistry()
    version = make_version("one")
    registry.push(version, notes=[wire.PushNote(version.id, "metrics", {"loss": 0.5})])
    with registry.database.read() as records:
        repository = records.repositories.get(NAME)
        (note,) = records.commits.load_notes(repository.id, [version.id])[version.id]
    assert (note.kind, note.body) == ("metrics", {"loss": 0.5})
