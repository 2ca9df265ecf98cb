"""The stores that the contract suites run over. A further one is one line in `STORES`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3.session
import httpx
from starlette.types import ASGIApp, Message, Scope

from plait.errors import PlaitError
from plait.model.ids import ObjectId, hash_bytes
from plait.model.part_sizes import PartSizes
from plait_registry.adapters.folder_objects import FolderObjects
from plait_registry.adapters.folder_transfers import FolderTransfers
from plait_registry.adapters.memory_objects import MemoryObjects, MemoryTransfers
from plait_registry.adapters.s3_client import IMPATIENT, S3Bucket
from plait_registry.adapters.s3_objects import S3Objects
from plait_registry.adapters.s3_probe import StoreFeatures
from plait_registry.adapters.s3_transfers import S3Transfers
from plait_registry.adapters.url_signing import UrlSigner
from plait_registry.api.object_gateway import ObjectGateway
from plait_registry.domain.ports import ObjectStore, SignedPart, SignedRequest, Transfers
from served.s3 import shared_s3_server

SIZES = PartSizes(largest_whole=4_096, part=1_024)
KEY = b"k" * 32

Send = Callable[[SignedRequest, bytes, Mapping[str, str]], tuple[int, bytes]]
"""Sends a signed request with a body and further headers; returns the status and the body."""

_STATUS_OF_KIND = {
    "digest-mismatch": 400,
    "invalid-input": 400,
    "object-exists": 412,
    "object-not-found": 404,
    "signed-url-invalid": 403,
    "size-mismatch": 400,
}


@dataclass(frozen=True)
class StoreUnderTest:
    """Both ports over one store, and a client of its signed requests."""

    objects: ObjectStore
    transfers: Transfers
    send: Send

    def read(self, object_id: ObjectId) -> bytes:
        """Return all bytes, as the registry reads them."""
        return b"".join(self.objects.read(object_id))

    def sign(self, content: bytes, handle: str) -> Sequence[SignedPart]:
        """Ask for the parts of `content`, and tell their digests."""
        size = len(content)
        digests = part_digests(content)
        return self.transfers.sign_upload(hash_bytes(content), size, handle, digests)

    def send_part(self, part: SignedPart, content: bytes) -> int:
        """Upload a part of `content`, and return the status."""
        assert part.request is not None
        body = content[part.offset : part.offset + part.size]
        return self.send(part.request, body, {})[0]

    def upload(self, content: bytes) -> ObjectId:
        """Upload all of an object."""
        object_id = hash_bytes(content)
        handle = self.transfers.begin_upload(object_id, len(content))
        for part in self.sign(content, handle):
            assert self.send_part(part, content) == 200
        self.transfers.finish_upload(object_id, len(content), handle)
        return object_id


def checksum_headers(body: bytes) -> dict[str, str]:
    """Return the header that every upload needs."""
    digest = hashlib.sha256(body).digest()
    return {"x-amz-checksum-sha256": base64.b64encode(digest).decode()}


def part_digests(content: bytes) -> list[ObjectId]:
    """Return the digests of the parts of `content`, none where it goes in one request."""
    size = len(content)
    tiles = [] if SIZES.is_whole(size) else SIZES.tile(size)
    return [hash_bytes(content[offset : offset + part]) for offset, part in tiles]


@contextmanager
def memory_store(_: Path) -> Iterator[StoreUnderTest]:
    """Yield the in-memory twin."""
    objects = MemoryObjects()
    transfers = MemoryTransfers(objects, SIZES)

    def send(request: SignedRequest, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            answer = transfers.send(request, body, headers)
            return (206 if {"range"} & {*headers, *request.headers} else 200), answer
        except PlaitError as error:
            return _STATUS_OF_KIND[error.kind], b""

    yield StoreUnderTest(objects, transfers, send)


@contextmanager
def folder_store(root: Path) -> Iterator[StoreUnderTest]:
    """Yield a folder behind its gateway, without a network between: `test_api_gateway` has one."""
    objects = FolderObjects(root)
    objects.prepare()
    transfers = FolderTransfers(objects, UrlSigner(KEY), SIZES)
    gateway = ObjectGateway(transfers)

    def send(request: SignedRequest, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        path, _, query = request.url.partition("?")
        length = {"content-length": str(len(body))}
        fields = {**length, **headers, **request.headers}
        scope = {
            "type": "http",
            "method": request.method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        }
        return asyncio.run(call(gateway, scope, body))

    yield StoreUnderTest(objects, transfers, send)


async def call(app: ASGIApp, scope: Scope, body: bytes) -> tuple[int, bytes]:
    """Send one request to an ASGI application, and return the status and the body."""
    incoming = [
        {"type": "http.request", "body": body[:1_000], "more_body": True},
        {"type": "http.request", "body": body[1_000:], "more_body": False},
    ]
    answered = asyncio.Event()
    status, answer = 0, b""

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status, answer
        status = message.get("status", status)
        answer += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    await app(scope, receive, send)
    return status, answer


@cache
def _shared_bucket() -> str:
    return shared_s3_server().new_bucket()


@cache
def _shared_session() -> Any:
    # Reading what boto3 knows about S3 takes longer than most tests.
    return boto3.session.Session()


@contextmanager
def s3_store(_: Path) -> Iterator[StoreUnderTest]:
    """Yield an empty place in a bucket of the real server, which enforces everything."""
    bucket = S3Bucket(
        shared_s3_server().location(_shared_bucket(), prefix=f"{secrets.token_hex(8)}/adapters/"),
        session=_shared_session(),
    )
    impatient = bucket.with_patience(IMPATIENT)
    objects = S3Objects(bucket, StoreFeatures(), impatient=impatient)
    transfers = S3Transfers(bucket, objects, StoreFeatures(), seconds=60, sizes=SIZES)
    with httpx.Client(timeout=30) as client:

        def send(
            request: SignedRequest, body: bytes, headers: Mapping[str, str]
        ) -> tuple[int, bytes]:
            answer = client.request(
                request.method,
                request.url,
                content=body if request.method == "PUT" else None,
                headers={**request.headers, **headers},
            )
            return answer.status_code, answer.content

        yield StoreUnderTest(objects, transfers, send)
    bucket.close()
    impatient.close()


STORES: Mapping[str, Callable[[Path], AbstractContextManager[StoreUnderTest]]] = {
    "memory": memory_store,
    "folder": folder_store,
    "s3": s3_store,
}
