"""The services of a registry over the twins in memory, and small versions to push to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait import wire
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.digesting import digest_file
from plait.model.ids import CommitId, ObjectId, hash_bytes
from plait.model.manifest import Manifest
from plait.model.part_sizes import PartSizes
from plait.model.paths import FilePath
from plait.model.refs import RefName
from plait.wire import CHECKSUM_HEADER
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.adapters.memory_objects import MemoryObjects, MemoryTransfers
from plait_registry.adapters.url_signing import encode_checksum
from plait_registry.domain.access import SYSTEM
from plait_registry.domain.ports import SignedRequest
from plait_registry.domain.records import PushId
from plait_registry.services.push import Push
from plait_registry.services.repositories import CreateRepository
from plait_registry.services.stores import Stores
from reference.registry_drivers import FixedClock, digest_parts
from reference.safetensors_writer import write

NAME = RepositoryName("team", "sql")
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG_BYTES = b'{"peft_type":"LORA","r":8}'

Document = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """A commit as documents, which may lie, and the bytes of its files."""

    commit: Document
    manifest: Document
    contents: Mapping[ObjectId, bytes]

    @property
    def id(self) -> CommitId:
        """The commit's id."""
        return CommitId(hash_bytes(canonical.dumps(self.commit)))

    def describe(self, manifest: Document) -> Version:
        """Return the same commit with other words about its files."""
        commit = {**self.commit, "manifest": hash_bytes(canonical.dumps(manifest))}
        return Version(commit, manifest, self.contents)


def make_version(
    message: str,
    *parents: CommitId,
    tensors: Mapping[str, bytes] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> Version:
    """Return a truthful version whose weights are those tensors of bytes."""
    held = {"a": message.encode()} if tensors is None else tensors
    weights = write({name: ("U8", (len(data),), data) for name, data in held.items()})
    return make_version_of(weights, message, *parents, more=more)


def make_version_of(
    weights: bytes, message: str, *parents: CommitId, more: Mapping[str, bytes] | None = None
) -> Version:
    """Return a truthful version with that weights file."""
    files = {CONFIG: CONFIG_BYTES, WEIGHTS: weights, **(more or {})}
    return make_version_with(files, message, parents, OriginKind.TRAINING)


def make_version_with(
    files: Mapping[str, bytes], message: str, parents: tuple[CommitId, ...], origin: OriginKind
) -> Version:
    """Return a truthful version with these files."""
    manifest = Manifest.of(
        digest_file(FilePath(path), len(data), [data]) for path, data in files.items()
    )
    commit = Commit(
        manifest.id,
        parents,
        Person("Ada", ""),
        "2026-11-24T06:07:00Z",
        message,
        Base("org/base"),
        Origin(origin),
    )
    contents = {hash_bytes(data): data for data in files.values()}
    return Version(commit.to_json(), manifest.to_json(), contents)


def copy_document(document: Document) -> Document:
    """Return a copy that may be changed."""
    copied: Document = json.loads(json.dumps(document))
    return copied


class MemoryRegistry:
    """A registry with the repository `team/sql`, one call a step of a push."""

    def __init__(
        self,
        sizes: PartSizes | None = None,
        *,
        store: MemoryObjects | None = None,
        transfers: MemoryTransfers | None = None,
    ) -> None:
        self.database = MemoryDatabase()
        self.store = MemoryObjects() if store is None else store
        self.transfers = MemoryTransfers(self.store, sizes) if transfers is None else transfers
        self.documents = MemoryObjects()
        stores = Stores(self.store, self.documents)
        self.service = Push(self.database, stores, self.transfers, FixedClock())
        self.create(NAME)

    def create(self, name: RepositoryName) -> RepositoryName:
        """Make another repository."""
        CreateRepository(self.database, FixedClock())(SYSTEM, name, "")
        return name

    def begin(self, *versions: Version, name: RepositoryName = NAME, **wish: Any) -> wire.PushPlan:
        """Begin a push of versions, the last of which the branch shall point at."""
        ref = wire.PushRef(
            "branch",
            wish.get("branch", "main"),
            wish.get("expected"),
            wish.get("new") or versions[-1].id,
            wish.get("force", False),
        )
        notes = list(wish.get("notes", ()))
        allowed = wish.get("allow_non_finite", False)
        return self.service.begin(SYSTEM, name, wire.NewPush(ref, _stage(versions), notes, allowed))

    def stage(self, plan: wire.PushPlan, *versions: Version) -> wire.PushPlan:
        """Add further versions to a push."""
        return self.service.stage(SYSTEM, NAME, PushId(plan.push), _stage(versions))

    def announce(self, plan: wire.PushPlan, version: Version) -> list[wire.NewObject]:
        """Return those objects that a plan asks for and the version has."""
        objects = []
        for file in plan.files:
            body = _cut(plan, file, version)
            if body is not None:
                parts = digest_parts(plan, body)
                objects.append(
                    wire.NewObject(file.sha256, file.ranges, hash_bytes(body), len(body), parts)
                )
        return objects

    def bodies(self, plan: wire.PushPlan, version: Version) -> dict[ObjectId, bytes]:
        """Return those objects that a plan asks for and the version has, by their digests."""
        cuts = [_cut(plan, file, version) for file in plan.files]
        return {hash_bytes(body): body for body in cuts if body is not None}

    def sign(
        self, plan: wire.PushPlan, objects: Sequence[wire.NewObject], name: RepositoryName = NAME
    ) -> list[wire.Upload]:
        """Return how to upload objects."""
        request = wire.UploadRequest(list(objects))
        return self.service.sign_uploads(SYSTEM, name, PushId(plan.push), request).uploads

    def upload(
        self,
        plan: wire.PushPlan,
        version: Version,
        name: RepositoryName = NAME,
        *,
        without: str = "",
        most: int | None = None,
    ) -> int:
        """Send what a plan asks for, but one path, or the rest after `most` bytes.

        Returns how many bytes were sent.
        """
        left_out = [file["sha256"] for file in version.manifest["files"] if file["path"] == without]
        objects = [item for item in self.announce(plan, version) if item.file not in left_out]
        bodies = self.bodies(plan, version)
        sent = 0
        for upload in self.sign(plan, objects, name):
            sent += self.send(
                upload, bodies[ObjectId(upload.sha256)], most=None if most is None else most - sent
            )
        return sent

    def send(self, upload: wire.Upload, body: bytes, *, most: int | None = None) -> int:
        """Send those parts of an object that have not arrived; return how many bytes those were."""
        sent = 0
        for part in upload.parts:
            if part.request is None or (most is not None and sent + part.size > most):
                continue
            piece = body[part.offset : part.offset + part.size]
            request = SignedRequest(part.request.method, part.request.url, part.request.headers)
            checksum = {CHECKSUM_HEADER: encode_checksum(hash_bytes(piece))}
            self.transfers.send(request, piece, checksum)
            sent += len(piece)
        return sent

    def complete(self, plan: wire.PushPlan, name: RepositoryName = NAME) -> wire.PushResult:
        """Complete a push."""
        return self.service.complete(SYSTEM, name, PushId(plan.push))

    def push(self, version: Version, **wish: Any) -> wire.PushResult:
        """Push a version from begin to complete."""
        plan = self.begin(version, **wish)
        self.upload(plan, version)
        return self.complete(plan)

    def target(self, branch: str = "main") -> str | None:
        """Return where a branch points."""
        with self.database.read() as records:
            repository = records.repositories.get(NAME)
            ref = records.refs.find(repository.id, RefName(branch))
        return None if ref is None else ref.target


def _stage(versions: Sequence[Version]) -> wire.StagedCommits:
    return wire.StagedCommits(
        [version.commit for version in versions], [version.manifest for version in versions]
    )


def _cut(plan: wire.PushPlan, file: wire.FilePlan, version: Version) -> bytes | None:
    """Return the object that a plan asks for, or None where the file is another version's."""
    data = version.contents.get(ObjectId(file.sha256))
    if data is None:
        return None
    return b"".join(data[begin:end] for begin, end in file.ranges) + bytes.fromhex(plan.salt)
