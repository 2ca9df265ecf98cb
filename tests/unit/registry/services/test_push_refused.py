"""What a refused push leaves behind: nothing that another push needs is ever taken away."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from typing_extensions import override

from plait import wire
from plait.errors import Integrity, InvalidInput, NotFound, Unavailable
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId, ObjectId, hash_bytes
from plait.model.part_sizes import PartSizes
from plait_registry.adapters.memory_objects import MemoryObjects
from plait_registry.domain.dedup import SALT_SIZE
from reference.memory_registry import (
    CONFIG,
    WEIGHTS,
    MemoryRegistry,
    Version,
    copy_document,
    make_version,
    make_version_of,
)
from reference.registry_drivers import digest_parts
from reference.safetensors_writer import write

PARTS = PartSizes(largest_whole=64, part=64)
OTHER = RepositoryName("team", "other")


class FailingObjects(MemoryObjects):
    """A store whose disk can be taken away."""

    is_away = False

    @override
    def read(self, object_id: ObjectId, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if self.is_away:
            raise Unavailable("unavailable", "The disk is away.")
        return super().read(object_id, start, stop)


def lie_about(version: Version, path: str, *, size: int) -> Version:
    manifest = copy_document(version.manifest)
    for file in manifest["files"]:
        if file["path"] == path:
            file["size"] = size
    return version.describe(manifest)


def announce_whole(
    plan: wire.PushPlan, version: Version, path: str, object_id: str = ""
) -> list[wire.NewObject]:
    """Announce one file as it is, whatever the manifest says about it."""
    named = {entry["path"]: entry["sha256"] for entry in version.manifest["files"]}
    salt = bytes.fromhex(plan.salt)
    return [
        wire.NewObject(
            file.sha256,
            file.ranges,
            object_id or hash_bytes(version.contents[ObjectId(file.sha256)] + salt),
            file.size + len(salt),
        )
        for file in plan.files
        if file.sha256 == named[path]
    ]


def test_file_that_claims_to_be_a_commit_does_not_take_the_commit_from_the_store() -> None:
    registry = MemoryRegistry()
    first = make_version("one")
    registry.push(first)
    # As the version before kept them: where uploads go.
    registry.store.objects.update(registry.documents.objects)
    for document in (first.id, ManifestId(first.commit["manifest"])):
        key = ObjectId(document)
        stored = registry.store.get(key)
        held = make_version("liar", more={"notes.json": stored})
        # The document's last bytes would have to be the salt.
        liar = lie_about(held, "notes.json", size=len(stored) - SALT_SIZE)
        plan = registry.begin(liar, branch="liar")
        registry.upload(plan, liar, without="notes.json")
        registry.sign(plan, announce_whole(plan, liar, "notes.json", key))
        with pytest.raises(Integrity):
            registry.complete(plan)
        assert hash_bytes(registry.store.get(key)) == key


def test_object_with_the_right_bytes_outlives_a_push_that_lies_about_it() -> None:
    registry = MemoryRegistry()
    honest = make_version("honest")
    waiting = registry.begin(honest)
    registry.upload(waiting, honest)
    registry.create(OTHER)
    liar = lie_about(honest, CONFIG, size=3)
    plan = registry.begin(liar, name=OTHER)
    theirs = next(item for item in registry.announce(waiting, honest) if item.size < 64)
    # The name of the other repository's object, which is there, is of no use here.
    registry.sign(plan, announce_whole(plan, liar, CONFIG, theirs.sha256), OTHER)
    with pytest.raises(Integrity):
        registry.complete(plan, OTHER)
    assert registry.complete(waiting).commits == 1


def test_lie_about_one_file_leaves_the_same_object_of_another_file_announced() -> None:
    registry = MemoryRegistry()
    known = {"left": bytes(70_000), "right": b"r" * 70_000}
    registry.push(make_version("known", tensors={"a": known["left"], "b": known["right"]}))
    # The two files differ in a tensor that is stored: what they lack, which is their headers and
    # another tensor, is the same, and so is the object of it.
    versions = [make_version(side, tensors={"w": known[side], "x": b"new"}) for side in known]
    plans = [registry.begin(item, branch=side) for side, item in zip(known, versions, strict=True)]
    [[honest], [lie]] = [
        [item for item in registry.announce(plan, version) if len(item.ranges) > 1]
        for plan, version in zip(plans, versions, strict=True)
    ]
    assert (honest.sha256, honest.file == lie.file) == (lie.sha256, False)
    for plan, version in zip(plans, versions, strict=True):
        registry.upload(plan, version)
    size = next(file.size for file in plans[1].files if file.sha256 == lie.file)
    registry.sign(plans[1], [replace(lie, ranges=[(0, size)], size=size + SALT_SIZE, parts=[])])
    assert registry.complete(plans[0]).ref.target == versions[0].id


def test_object_with_wrong_bytes_is_removed_and_can_be_sent_again() -> None:
    registry = MemoryRegistry(PARTS)
    version = make_version("one", tensors={"a": bytes(500)})
    plan = registry.begin(version)
    weights = [item for item in registry.announce(plan, version) if item.size > 500]
    right = registry.bodies(plan, version)[ObjectId(weights[0].sha256)]
    wrong = right[:-1] + b"x"
    parts = digest_parts(plan, wrong)
    (upload,) = registry.sign(plan, [replace(item, parts=parts) for item in weights])
    registry.send(upload, wrong)
    registry.upload(plan, version, without=WEIGHTS)
    with pytest.raises(Integrity):
        registry.complete(plan)
    assert registry.store.stat(ObjectId(weights[0].sha256)) is None
    assert registry.target() is None
    again = registry.begin(version)
    registry.upload(again, version)
    registry.complete(again)
    assert registry.target() == version.id


def test_size_that_was_a_lie_once_does_not_bar_the_file_for_good() -> None:
    registry = MemoryRegistry()
    honest = make_version("honest", more={"readme.md": b"twelve bytes"})
    liar = lie_about(honest, "readme.md", size=3)
    plan = registry.begin(liar)
    registry.sign(plan, announce_whole(plan, liar, "readme.md"))
    registry.push(honest)
    assert registry.target() == honest.id


def test_disk_that_fails_while_bytes_are_verified_costs_no_upload() -> None:
    store = FailingObjects()
    registry = MemoryRegistry(store=store)
    version = make_version("one")
    plan = registry.begin(version)
    registry.upload(plan, version)
    store.is_away = True
    with pytest.raises(Unavailable):
        registry.complete(plan)
    store.is_away = False
    assert registry.complete(plan).commits == 1


def test_push_that_lacks_bytes_says_so_and_can_be_completed_later() -> None:
    registry = MemoryRegistry()
    version = make_version("one")
    plan = registry.begin(version)
    registry.upload(plan, version, without=CONFIG)
    with pytest.raises(NotFound) as caught:
        registry.complete(plan)
    assert caught.value.kind == "object-not-found"
    assert caught.value.details["path"] == CONFIG
    registry.upload(plan, version)
    assert registry.complete(plan).commits == 1


@pytest.mark.parametrize("what", ["new", "note"])
def test_push_that_names_a_commit_that_is_not_here_is_refused(what: str) -> None:
    registry = MemoryRegistry()
    version = make_version("one")
    absent = CommitId(hash_bytes(b"absent"))
    notes = [wire.PushNote(absent, "metrics", {})] if what == "note" else []
    plan = registry.begin(version, notes=notes, new=absent if what == "new" else None)
    registry.upload(plan, version)
    with pytest.raises(NotFound) as caught:
        registry.complete(plan)
    assert caught.value.kind == "commit-not-found"
    assert registry.target() is None


def test_not_a_number_that_one_push_allowed_is_refused_by_the_next_that_does_not() -> None:
    registry = MemoryRegistry()
    weights = write({"a": ("F32", (2,), b"\x00\x00\x80\x3f\x00\x00\xc0\x7f")})
    version = make_version_of(weights, "nan")
    registry.push(version, branch="allowed", allow_non_finite=True)
    again = make_version_of(weights, "the same weights")
    with pytest.raises(InvalidInput) as caught:
        registry.push(again, branch="strict")
    assert caught.value.kind == "tensor-not-finite"
    registry.push(again, branch="allowed-too", allow_non_finite=True)
    assert registry.target("strict") is None
    assert registry.target("allowed-too") == again.id
