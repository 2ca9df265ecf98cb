"""The client's transport port over plain dictionaries: files as extents of objects.

Answers the routes that uploads and downloads use, and misbehaves on request: `faults` are raised
by the next receives or sends, one each, and `cut` ends every receive after so many bytes.
"""

import base64
import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from plait import wire
from plait.errors import Integrity, NotFound, PlaitError, Unavailable
from plait.model.byte_range import find_range, write_range
from plait.transport import Body, Query

SALT = bytes(range(32))


@dataclass
class MemoryTransport:
    """Implements `plait.transport.Transport`."""

    objects: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    """Extents: the object, and begin and end in it."""
    spans: bool = False
    """Whether each extent is signed by itself, as where the object holds what is not to be read."""
    plan: wire.PushPlan | None = None
    part_size: int = 64
    arrived: dict[tuple[str, int], bytes] = field(default_factory=dict)
    faults: list[PlaitError | None] = field(default_factory=list)
    cut: int | None = None
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    ranges: list[tuple[str, int, int]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    url = "memory:"

    def store(self, data: bytes, *cuts: int) -> str:
        """Keep a file whole, or as one object for each piece between `cuts`; return its digest."""
        edges = [0, *cuts, len(data)]
        extents = []
        for begin, end in pairwise(edges):
            digest = hashlib.sha256(data[begin:end]).hexdigest()
            self.objects[digest] = data[begin:end]
            extents.append((digest, 0, end - begin))
        digest = hashlib.sha256(data).hexdigest()
        self.files[digest] = extents
        return digest

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        patience: float | None = None,
        repeatable: bool = False,
    ) -> Any:
        """Answer a call."""
        with self.lock:
            self.calls.append((method, path, body))
        if path.endswith("/downloads"):
            return wire.encode(self._downloads(body["files"]))
        if path.endswith("/uploads"):
            return wire.encode(wire.Uploads([self._upload(item) for item in body["objects"]]))
        if path.endswith(("/pushes", "/commits")):
            return wire.encode(self.plan or self.plan_for())
        if path.endswith("/complete"):
            return wire.encode(wire.PushResult(wire.Ref("branch", "main", "0" * 64), 1, 2, 3))
        raise NotFound("route-not-found", path)

    def plan_for(self, *files: wire.FilePlan) -> wire.PushPlan:
        """Return a plan that asks for `files`."""
        sizes = {"largest_whole": self.part_size, "part_size": self.part_size}
        return wire.PushPlan("p1", list(files), 0, salt=SALT.hex(), **sizes)

    def send(self, request: wire.SignedRequest, body: Body, *, headers: Mapping[str, str]) -> None:
        """Take a part, and check its digest where one is sent."""
        self._fail()
        data = b"".join(bytes(piece) for piece in body.open())
        checksum = request.headers["x-amz-checksum-sha256"]
        actual = base64.b64encode(hashlib.sha256(data).digest()).decode()
        if checksum != actual or len(data) != body.size:
            raise Integrity("digest-mismatch", "Other bytes than announced.")
        digest, offset = request.url.split("@")
        with self.lock:
            self.headers.append(headers)
            self.arrived[digest, int(offset)] = data

    def receive(self, request: wire.SignedRequest, start: int, stop: int) -> Iterator[memoryview]:
        """Yield a range in small pieces that share one buffer."""
        self._fail()
        begin, end = find_range(request.headers.get("range", "")) or (start, stop)
        assert begin <= start <= stop <= end
        with self.lock:
            self.ranges.append((request.url, start, stop))
        data = self.objects[request.url][start:stop]
        buffer = bytearray(7)
        for first in range(0, len(data), 7):
            if self.cut is not None and first >= self.cut:
                raise Unavailable("registry-unreachable", "The connection was lost.")
            piece = data[first : first + 7]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    def close(self) -> None:
        """Do nothing."""

    def _fail(self) -> None:
        with self.lock:
            fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault

    def _downloads(self, files: list[str]) -> wire.Downloads:
        extents = [extent for file in files for extent in self.files[file]]
        reads = [self._sign(extent) for extent in sorted(extents)]
        sources = [
            wire.FileSource(
                file,
                sum(end - begin for _, begin, end in self.files[file]),
                [
                    wire.Extent(reads.index(self._sign(extent)), extent[1], extent[2] - extent[1])
                    for extent in self.files[file]
                ],
            )
            for file in files
        ]
        return wire.Downloads(sources, reads)

    def _sign(self, extent: tuple[str, int, int]) -> wire.SignedRequest:
        name, begin, end = extent
        return wire.SignedRequest(
            "GET", name, {"range": write_range(begin, end)} if self.spans else {}
        )

    def _upload(self, item: dict[str, Any]) -> wire.Upload:
        digest, size = item["sha256"], item["size"]
        if digest in self.objects:
            return wire.Upload(digest, [])
        checksums = [
            {"x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(part)).decode()}
            for part in item["parts"] or [digest]
        ]
        parts = [
            wire.UploadPart(
                offset,
                min(self.part_size, size - offset),
                None
                if (digest, offset) in self.arrived
                else wire.SignedRequest("PUT", f"{digest}@{offset}", signed),
            )
            for offset, signed in zip(
                range(0, max(size, 1), self.part_size), checksums, strict=True
            )
        ]
        return wire.Upload(digest, parts)
