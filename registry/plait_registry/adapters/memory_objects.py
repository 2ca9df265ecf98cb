"""Objects and transfers in memory: the twin of the real stores, for tests of services.

`MemoryTransfers.send` plays the client's request and the store's answer in one call.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from plait.errors import AlreadyExists, Integrity, InvalidInput, NotFound, PermissionDenied
from plait.model.byte_range import find_range, write_range
from plait.model.ids import ObjectId, abbreviate, hash_bytes, parse_object_id
from plait.model.part_sizes import PartSizes
from plait.wire import CHECKSUM_HEADER
from plait_registry.adapters.url_signing import NO_DIGEST, encode_checksum
from plait_registry.domain.ports import (
    ObjectStore,
    SignedPart,
    SignedRequest,
    StoredObject,
    Transfers,
    UnfinishedUpload,
)

LONG_AGO = "2000-01-01T00:00:00Z"
"""When everything in memory was stored: tests that look at ages have a clock of their own."""
_PIECE = 1024 * 1024


class MemoryObjects(ObjectStore):
    """An object store in a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[ObjectId, bytes] = {}

    @override
    def stat(self, object_id: ObjectId) -> int | None:
        data = self.objects.get(parse_object_id(object_id))
        return None if data is None else len(data)

    @override
    def read(self, object_id: ObjectId, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        data = self.get(object_id)[start:stop]
        for offset in range(0, len(data), _PIECE):
            yield data[offset : offset + _PIECE]

    @override
    def put(self, object_id: ObjectId, data: bytes) -> None:
        if hash_bytes(data) != object_id:
            raise Integrity(
                "digest-mismatch", f"The bytes for {abbreviate(object_id)} have another sha256."
            )
        self.objects.setdefault(object_id, data)

    @override
    def delete(self, object_id: ObjectId) -> None:
        self.objects.pop(parse_object_id(object_id), None)

    @override
    def discard_wrong(self, object_id: ObjectId) -> None:
        data = self.objects.get(parse_object_id(object_id), b"")
        if hash_bytes(data) != object_id:
            self.delete(object_id)

    @override
    def list(self) -> Iterator[StoredObject]:
        for object_id, data in sorted(self.objects.items()):
            yield StoredObject(object_id, len(data), LONG_AGO)

    @override
    def check(self) -> None:
        """Memory is always there."""

    def get(self, object_id: ObjectId) -> bytes:
        """Return all bytes of an object.

        Raises:
            NotFound: `object-not-found`.
        """
        data = self.objects.get(parse_object_id(object_id))
        if data is None:
            raise NotFound("object-not-found", f"The object {abbreviate(object_id)} is not stored.")
        return data


@dataclass(slots=True)
class _Upload:
    """What arrived of an upload in parts, by offset."""

    object_id: ObjectId
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Grant:
    """What a signed request allows."""

    method: str
    object_id: ObjectId
    handle: str = ""
    offset: int = 0
    size: int = 0
    total: int = 0
    digest: ObjectId = NO_DIGEST
    span: str | None = None
    """The header of a read that is limited to one range."""


class MemoryTransfers(Transfers):
    """Signed requests to a `MemoryObjects`; the signature is a random word that it remembers."""

    def __init__(self, store: MemoryObjects, sizes: PartSizes | None = None) -> None:
        self._store = store
        self._sizes = sizes or PartSizes()
        self._uploads: dict[str, _Upload] = {}
        self._grants: dict[str, _Grant] = {}

    @property
    @override
    def sizes(self) -> PartSizes:
        return self._sizes

    @override
    def begin_upload(self, object_id: ObjectId, size: int) -> str:
        parse_object_id(object_id)
        if size < 0:
            raise InvalidInput("invalid-input", f"An object cannot have {size} bytes.")
        return secrets.token_hex(16)

    @override
    def sign_upload(
        self, object_id: ObjectId, size: int, handle: str, parts: Sequence[ObjectId]
    ) -> Sequence[SignedPart]:
        if self._store.stat(object_id) is not None:
            return ()
        arrived = self._uploads[handle].parts if handle in self._uploads else {}
        return tuple(
            SignedPart(
                offset,
                part,
                None
                if offset in arrived
                else self._sign(_Grant("PUT", object_id, handle, offset, part, size, digest)),
            )
            for offset, part, digest in self._sizes.tile_with(object_id, size, parts)
        )

    @override
    def finish_upload(self, object_id: ObjectId, size: int, handle: str) -> None:
        if self._store.stat(object_id) is None and not self._sizes.is_whole(size):
            parts = self._uploads[handle].parts if handle in self._uploads else {}
            if all(offset in parts for offset, _ in self._sizes.tile(size)):
                self._store.objects[object_id] = b"".join(parts[key] for key in sorted(parts))
        stored = len(self._store.get(object_id))
        if stored != size:
            raise Integrity(
                "size-mismatch",
                f"The object {abbreviate(object_id)} has {stored} bytes, not {size}.",
            )
        self._uploads.pop(handle, None)

    @override
    def abandon_upload(self, object_id: ObjectId, handle: str) -> None:
        self._uploads.pop(handle, None)

    @override
    def list_uploads(self) -> Iterator[UnfinishedUpload]:
        for handle, upload in self._uploads.items():
            yield UnfinishedUpload(upload.object_id, handle, LONG_AGO)

    @override
    def sign_read(self, object_id: ObjectId, span: tuple[int, int] | None = None) -> SignedRequest:
        wanted = None if span is None else write_range(*span)
        return self._sign(_Grant("GET", parse_object_id(object_id), span=wanted))

    def send(
        self, request: SignedRequest, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Send a signed request, with the client's own headers, and return the answer's body.

        Raises:
            PlaitError: what a real store answers.
        """
        given = {
            name.lower(): value for name, value in {**request.headers, **(headers or {})}.items()
        }
        word = parse_qs(urlsplit(request.url).query).get("signature", [""])[0]
        grant = self._grants.get(word)
        if grant is None or grant.method != request.method:
            raise PermissionDenied("signed-url-invalid", "The signature does not fit the request.")
        if grant.method == "GET":
            if grant.span not in {None, given.get("range")}:
                raise PermissionDenied(
                    "signed-url-invalid", "The signature does not fit the request."
                )
            return self._read(grant.object_id, given.get("range"))
        self._upload(grant, body, given)
        return b""

    def _read(self, object_id: ObjectId, wanted: str | None) -> bytes:
        data = self._store.get(object_id)
        if wanted is None:
            return data
        begin, end = find_range(wanted) or (0, len(data))
        return data[begin:end]

    def _upload(self, grant: _Grant, body: bytes, headers: Mapping[str, str]) -> None:
        checksum = encode_checksum(grant.digest)
        if headers.get(CHECKSUM_HEADER) != checksum:
            raise PermissionDenied("signed-url-invalid", "The signature does not fit the request.")
        upload = self._uploads.get(grant.handle) or _Upload(grant.object_id)
        if self._store.stat(grant.object_id) is not None or grant.offset in upload.parts:
            raise AlreadyExists("object-exists", "The object, or this part of it, is here already.")
        if len(body) != grant.size:
            raise Integrity("size-mismatch", f"The body must have exactly {grant.size} bytes.")
        if encode_checksum(hash_bytes(body)) != checksum:
            raise Integrity("digest-mismatch", "The body has another sha256 than its header says.")
        if grant.size == grant.total:
            self._store.put(grant.object_id, body)
        else:
            self._uploads.setdefault(grant.handle, upload).parts[grant.offset] = body

    def _sign(self, grant: _Grant) -> SignedRequest:
        word = secrets.token_hex(16)
        self._grants[word] = grant
        url = f"/objects/{grant.object_id}?signature={word}"
        if grant.method == "GET":
            return SignedRequest("GET", url, {"range": grant.span} if grant.span else {})
        headers = {CHECKSUM_HEADER: encode_checksum(grant.digest)}
        if grant.size == grant.total:
            headers["if-none-match"] = "*"
        return SignedRequest("PUT", url, headers)
