"""One way to talk to a registry, over its services in memory or over HTTP.

A driver speaks in the shapes of `plait.wire` and raises `plait.errors`; a test that is written
against it holds for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from plait import wire
from plait.errors import AlreadyExists
from plait.http_transport import HttpTransport
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.byte_range import write_range
from plait.model.ids import CommitId, ManifestId, ObjectId, hash_bytes
from plait.model.part_sizes import PartSizes
from plait.model.refs import RefKind, RefName, RefUpdate
from plait.transport import Body, repository_path
from plait.wire import CHECKSUM_HEADER
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.adapters.memory_objects import MemoryObjects, MemoryTransfers
from plait_registry.adapters.url_signing import encode_checksum
from plait_registry.domain.access import SYSTEM
from plait_registry.domain.ports import Database, SignedRequest
from plait_registry.domain.records import PushId
from plait_registry.services.files import ReadFiles
from plait_registry.services.history import LogQuery, ReadHistory
from plait_registry.services.push import Push
from plait_registry.services.refs import CreateRef, DeleteRef, ListRefs, MoveRef
from plait_registry.services.repositories import CreateRepository
from plait_registry.services.stores import Stores


class Driver(Protocol):
    """What a test does with one repository."""

    def push(self, request: wire.NewPush, contents: Mapping[str, bytes]) -> wire.PushResult:
        """Push from begin to complete; `contents` are the bytes of files by digest."""

    def create_ref(self, kind: str, name: str, revision: str) -> None:
        """Make a branch or tag."""

    def move_branch(self, name: str, move: wire.RefMove) -> None:
        """Move a branch between commits that are there."""

    def delete_ref(self, kind: str, name: str, expected: str) -> None:
        """Delete a branch or tag."""

    def refs(self) -> dict[str, tuple[str, str]]:
        """Return kind and target of every ref by name."""

    def resolve(self, revision: str) -> str:
        """Return the commit that a revision names."""

    def log(self, revision: str, *, exclude: Sequence[str], page: int) -> list[str]:
        """Return the whole log, read in pages of that length."""

    def merge_bases(self, left: str, right: str) -> list[str]:
        """Return the best common ancestors."""

    def manifest(self, manifest: str) -> dict[str, Any]:
        """Return a manifest's document."""

    def read(self, file: str) -> bytes:
        """Return the bytes of a file by its digest."""


class FixedClock:
    """A clock that stands still."""

    def now(self) -> str:
        """Return always the same."""
        return "2026-01-01T00:00:00Z"


class ServiceDriver:
    """The services of a registry over the twins in memory, or over an empty `database`."""

    def __init__(self, name: RepositoryName, database: Database | None = None) -> None:
        self._name = name
        self._database = MemoryDatabase() if database is None else database
        store = MemoryObjects()
        self._transfers = MemoryTransfers(store)
        self._push = Push(
            self._database, Stores(store, MemoryObjects()), self._transfers, FixedClock()
        )
        self._history = ReadHistory(self._database)
        self._files = ReadFiles(self._database, self._transfers)
        CreateRepository(self._database, FixedClock())(SYSTEM, name, "")

    def push(self, request: wire.NewPush, contents: Mapping[str, bytes]) -> wire.PushResult:
        """Push from begin to complete."""
        plan = self._push.begin(SYSTEM, self._name, request)
        push = PushId(plan.push)
        objects, bodies = plan_objects(plan, contents)
        answer = self._push.sign_uploads(SYSTEM, self._name, push, wire.UploadRequest(objects))
        for upload in answer.uploads:
            for part in upload.parts:
                if part.request is not None:
                    body = bodies[upload.sha256][part.offset : part.offset + part.size]
                    self._transfers.send(_from_wire(part.request), body)
        return self._push.complete(SYSTEM, self._name, push)

    def create_ref(self, kind: str, name: str, revision: str) -> None:
        """Make a branch or tag."""
        CreateRef(self._database, FixedClock())(
            SYSTEM, self._name, RefKind(kind), RefName(name), revision
        )

    def move_branch(self, name: str, move: wire.RefMove) -> None:
        """Move a branch between commits that are there."""
        update = RefUpdate(
            RefKind.BRANCH,
            RefName(name),
            CommitId(move.expected),
            CommitId(move.new),
            force=move.force,
        )
        MoveRef(self._database, FixedClock())(SYSTEM, self._name, update)

    def delete_ref(self, kind: str, name: str, expected: str) -> None:
        """Delete a branch or tag."""
        delete = DeleteRef(self._database, FixedClock())
        delete(SYSTEM, self._name, RefKind(kind), RefName(name), CommitId(expected))

    def refs(self) -> dict[str, tuple[str, str]]:
        """Return kind and target of every ref by name."""
        _, refs = ListRefs(self._database)(SYSTEM, self._name)
        return {ref.name: (ref.kind.value, ref.target) for ref in refs}

    def resolve(self, revision: str) -> str:
        """Return the commit that a revision names."""
        return self._history.resolve(SYSTEM, self._name, revision).id

    def log(self, revision: str, *, exclude: Sequence[str], page: int) -> list[str]:
        """Return the whole log, read in pages."""
        found: list[str] = []
        cursor: str | None = None
        while True:
            query = LogQuery(revision, tuple(exclude), page, cursor)
            answer = self._history.log(SYSTEM, self._name, query)
            found += [row.id for row in answer.commits]
            cursor = answer.next
            if cursor is None:
                return found

    def merge_bases(self, left: str, right: str) -> list[str]:
        """Return the best common ancestors."""
        return list(self._history.merge_bases(SYSTEM, self._name, left, right))

    def manifest(self, manifest: str) -> dict[str, Any]:
        """Return a manifest's document."""
        key = ManifestId(manifest)
        document: dict[str, Any] = canonical.loads(
            self._files.manifests(SYSTEM, self._name, [key])[key]
        )
        return document

    def read(self, file: str) -> bytes:
        """Return the bytes of a file by its digest."""
        plan = self._files.downloads(SYSTEM, self._name, [ObjectId(file)])
        ((_, parts),) = plan.files
        return b"".join(
            self._transfers.send(
                plan.reads[source],
                headers={"range": write_range(extent.offset, extent.offset + extent.size)},
            )
            for source, extent in parts
        )


class HttpDriver:
    """A registry over HTTP, by the shapes of its API and nothing of the SDK above the transport."""

    def __init__(self, transport: HttpTransport, name: RepositoryName) -> None:
        self._transport = transport
        self._name = name
        new = wire.NewRepository(name.namespace, name.name)
        transport.call("POST", f"{wire.API_PREFIX}/repositories", body=wire.encode(new))

    def push(self, request: wire.NewPush, contents: Mapping[str, bytes]) -> wire.PushResult:
        """Push from begin to complete."""
        plan = wire.decode(wire.PushPlan, self.call("POST", "/pushes", body=wire.encode(request)))
        self.upload(plan, contents)
        return wire.decode(wire.PushResult, self.call("POST", f"/pushes/{plan.push}/complete"))

    def upload(self, plan: wire.PushPlan, contents: Mapping[str, bytes]) -> None:
        """Send what a plan asks for."""
        objects, bodies = plan_objects(plan, contents)
        asked = wire.encode(wire.UploadRequest(objects))
        answer = self.call("POST", f"/pushes/{plan.push}/uploads", body=asked)
        for upload in wire.decode(wire.Uploads, answer).uploads:
            for part in upload.parts:
                if part.request is not None:
                    body = bodies[upload.sha256][part.offset : part.offset + part.size]
                    self._send(part.request, body, is_whole=part.size == len(bodies[upload.sha256]))

    def create_ref(self, kind: str, name: str, revision: str) -> None:
        """Make a branch or tag."""
        self.call("POST", "/refs", body=wire.encode(wire.NewRef(kind, name, revision)))

    def move_branch(self, name: str, move: wire.RefMove) -> None:
        """Move a branch between commits that are there."""
        self.call("PATCH", f"/refs/branch/{quote(name)}", body=wire.encode(move))

    def delete_ref(self, kind: str, name: str, expected: str) -> None:
        """Delete a branch or tag."""
        self.call("DELETE", f"/refs/{kind}/{quote(name)}", query={"expected": expected})

    def refs(self) -> dict[str, tuple[str, str]]:
        """Return kind and target of every ref by name."""
        listed = wire.decode(wire.RefList, self.call("GET", "/refs"))
        return {ref.name: (ref.kind, ref.target) for ref in listed.refs}

    def resolve(self, revision: str) -> str:
        """Return the commit that a revision names."""
        answer = self.call("GET", "/resolve", query={"revision": revision})
        return wire.decode(wire.Resolved, answer).commit

    def log(self, revision: str, *, exclude: Sequence[str], page: int) -> list[str]:
        """Return the whole log, read in pages."""
        found: list[str] = []
        cursor: str | None = None
        while True:
            query = {
                "revision": revision,
                "exclude": list(exclude),
                "limit": page,
                "cursor": cursor,
            }
            answer = wire.decode(wire.CommitPage, self.call("GET", "/commits", query=query))
            found += [record.id for record in answer.commits]
            cursor = answer.next
            if cursor is None:
                return found

    def merge_bases(self, left: str, right: str) -> list[str]:
        """Return the best common ancestors."""
        answer = self.call("GET", "/merge-base", query={"left": left, "right": right})
        return wire.decode(wire.MergeBases, answer).bases

    def manifest(self, manifest: str) -> dict[str, Any]:
        """Return a manifest's document."""
        asked = wire.encode(wire.ManifestRequest([manifest]))
        answer = self.call("POST", "/manifests/query", body=asked)
        return wire.decode(wire.ManifestList, answer).manifests[0].manifest

    def read(self, file: str) -> bytes:
        """Return the bytes of a file by its digest."""
        asked = wire.encode(wire.DownloadRequest([file]))
        found = wire.decode(wire.Downloads, self.call("POST", "/downloads", body=asked))
        pieces = []
        for extent in found.files[0].extents:
            request = found.objects[extent.object]
            stop = extent.offset + extent.size
            pieces += [bytes(p) for p in self._transport.receive(request, extent.offset, stop)]
        return b"".join(pieces)

    def call(self, method: str, tail: str, **options: Any) -> Any:
        """Call a route of the repository."""
        return self._transport.call(method, repository_path(self._name, tail), **options)

    def _send(self, request: wire.SignedRequest, body: bytes, *, is_whole: bool) -> None:
        headers = {} if is_whole else {CHECKSUM_HEADER: encode_checksum(hash_bytes(body))}
        try:
            self._transport.send(request, Body(len(body), lambda: iter([body])), headers=headers)
        except AlreadyExists:
            return


def plan_objects(
    plan: wire.PushPlan, contents: Mapping[str, bytes]
) -> tuple[list[wire.NewObject], dict[str, bytes]]:
    """Return the objects that a plan asks for, and their bytes by digest."""
    objects, bodies = [], {}
    for file in plan.files:
        data = contents[file.sha256]
        body = b"".join(data[begin:end] for begin, end in file.ranges) + bytes.fromhex(plan.salt)
        digest = hash_bytes(body)
        parts = digest_parts(plan, body)
        objects.append(wire.NewObject(file.sha256, list(file.ranges), digest, len(body), parts))
        bodies[str(digest)] = body
    return objects, bodies


def digest_parts(plan: wire.PushPlan, body: bytes) -> list[str]:
    """Return the digests of an object's parts; none where it goes in one request."""
    sizes = PartSizes(plan.largest_whole, plan.part_size)
    if sizes.is_whole(len(body)):
        return []
    return [hash_bytes(body[first : first + size]) for first, size in sizes.tile(len(body))]


def _from_wire(request: wire.SignedRequest) -> SignedRequest:
    return SignedRequest(request.method, request.url, request.headers)
