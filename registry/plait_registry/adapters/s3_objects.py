"""Objects in a bucket: `<prefix>objects/sha256/ab/<64 hexadecimal digits>`.

- An object is created only where there is none (`If-None-Match: *`), and the store checks its
  sha256, as far as it can; `s3_probe` finds out how far.
- A read that is cut in the middle goes on from the byte that it reached, of the same object: the
  rest is asked for with the ETag of the first answer.
- Keys of other forms are nobody's business here.

An object goes straight to its final key, also when its parts were right and its whole is not: what
is under a key proves nothing until the registry has read it, and nothing refers to it before. A
wrong one is discarded by reading it once more and deleting it on the condition that its ETag is
still the one that was read. So the right object, if somebody sent it meanwhile, stays.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError
from typing_extensions import override

from plait.errors import Integrity, NotFound, Unavailable
from plait.model.ids import ObjectId, abbreviate, hash_bytes
from plait_registry.adapters.s3_client import Refusal, Refused, S3Bucket
from plait_registry.adapters.s3_probe import StoreFeatures, Support
from plait_registry.domain.ports import ObjectStore, StoredObject

PIECE_SIZE = 1024 * 1024
MOST_CUTS = 5
"""In a row, without a byte between them."""

_KEY = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})")
_CUT = (HTTPClientError, IncompleteReadError, ResponseStreamingError)
"""What botocore raises where the connection fails while a body is read."""


class S3Objects(ObjectStore):
    """The object store of one bucket."""

    def __init__(self, bucket: S3Bucket, features: StoreFeatures, *, impatient: S3Bucket) -> None:
        """Take the bucket, and the same with less patience, for `check`."""
        self._bucket = bucket
        self._features = features
        self._impatient = impatient

    @override
    def stat(self, object_id: ObjectId) -> int | None:
        key = self._bucket.key_of(object_id)
        try:
            return int(self._bucket.call("head_object", Refusal.ABSENT, Key=key)["ContentLength"])
        except Refused:
            return None

    @override
    def read(self, object_id: ObjectId, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if stop is not None and stop <= start:
            if self.stat(object_id) is None:
                raise missing(object_id)
            return iter(())
        return _Reading(self._bucket, object_id).pieces(start, stop)

    @override
    def put(self, object_id: ObjectId, data: bytes) -> None:
        if hash_bytes(data) != object_id:
            raise _wrong_bytes(object_id)
        # What is there already was not read by anyone yet: an upload in parts may have ended there.
        if not self._create(object_id, data) and self.stat(object_id) != len(data):
            self.discard_wrong(object_id)
            self._create(object_id, data)
        if self._features.checksum is not Support.ENFORCED:
            self._verify(object_id)

    @override
    def delete(self, object_id: ObjectId) -> None:
        self._bucket.call("delete_object", Key=self._bucket.key_of(object_id))

    @override
    def discard_wrong(self, object_id: ObjectId) -> None:
        reading = _Reading(self._bucket, object_id)
        digest = hashlib.sha256()
        try:
            for piece in reading.pieces(0, None):
                digest.update(piece)
        except NotFound:
            return
        if digest.hexdigest() == object_id:
            return
        condition: dict[str, str] = {}
        if reading.etag and self._features.conditional_delete is not Support.REFUSED:
            condition = {"IfMatch": reading.etag}
        key = self._bucket.key_of(object_id)
        try:
            self._bucket.call(
                "delete_object", Refusal.CONDITION, Refusal.ABSENT, Key=key, **condition
            )
        except Refused:
            return  # another object took its place, or it is gone

    @override
    def list(self) -> Iterator[StoredObject]:
        prefix = self._bucket.objects_prefix
        for page in self._bucket.pages("list_objects_v2", Prefix=prefix):
            for item in page.get("Contents", ()):
                object_id = find_object_id(item["Key"], prefix)
                if object_id is not None:
                    yield StoredObject(object_id, item["Size"], to_utc(item["LastModified"]))

    @override
    def check(self) -> None:
        prefix = self._impatient.objects_prefix
        self._impatient.call("list_objects_v2", Prefix=prefix, MaxKeys=1)

    def _verify(self, object_id: ObjectId) -> None:
        """Read back what a store took that checks nothing."""
        digest = hashlib.sha256()
        for piece in self.read(object_id):
            digest.update(piece)
        if digest.hexdigest() != object_id:
            self.discard_wrong(object_id)
            raise Integrity(
                "digest-mismatch",
                f"The object store has other bytes for {abbreviate(object_id)} than it was sent: "
                "check the store, then try again.",
            )

    def _create(self, object_id: ObjectId, data: bytes) -> bool:
        """Store an object where there is none; False where there is one."""
        condition: dict[str, str] = {}
        if self._features.create_only is not Support.REFUSED:
            condition = {"IfNoneMatch": "*"}
        if self._features.checksum is not Support.REFUSED:
            condition["ChecksumSHA256"] = to_checksum(object_id)
        key = self._bucket.key_of(object_id)
        expected = (Refusal.CONDITION, Refusal.WRONG_BYTES)
        try:
            self._bucket.call("put_object", *expected, Key=key, Body=data, **condition)
        except Refused as refused:
            if refused.refusal is Refusal.WRONG_BYTES:
                raise _wrong_bytes(object_id) from refused
            return False
        return True


class _Reading:
    """One object that is read, over as many requests as it takes."""

    def __init__(self, bucket: S3Bucket, object_id: ObjectId) -> None:
        self.etag = ""
        """Of what is read; known with the first piece."""
        self._bucket = bucket
        self._object_id = object_id
        self._key = bucket.key_of(object_id)

    def pieces(self, start: int, stop: int | None) -> Iterator[bytes]:
        position, cuts = start, 0
        while True:
            answer = self._open(position, stop)
            if answer is None:
                return
            body = answer["Body"]
            try:
                while piece := body.read(PIECE_SIZE):
                    position, cuts = position + len(piece), 0
                    yield piece
                return
            except _CUT as error:
                cuts += 1
                if cuts == MOST_CUTS:
                    raise Unavailable(
                        "unavailable",
                        f"The object store cut the connection {MOST_CUTS} times while an object "
                        "was read. Try again later.",
                    ) from error
            finally:
                body.close()
            self._bucket.pause(cuts)

    def _open(self, position: int, stop: int | None) -> dict[str, Any] | None:
        """Ask for the rest; None where there is none."""
        parameters: dict[str, str] = {"IfMatch": self.etag} if self.etag else {}
        is_ranged = position > 0 or stop is not None
        if is_ranged:
            parameters["Range"] = f"bytes={position}-{'' if stop is None else stop - 1}"
        try:
            answer = self._bucket.call("get_object", *_FORESEEN, Key=self._key, **parameters)
        except Refused as refused:
            if refused.refusal is Refusal.ABSENT:
                raise missing(self._object_id) from refused
            if refused.refusal is Refusal.OUT_OF_RANGE:
                return None
            raise Unavailable(
                "unavailable", "The object was replaced while it was read: try again."
            ) from refused
        if is_ranged and not answer.get("ContentRange", "").startswith(f"bytes {position}-"):
            answer["Body"].close()
            raise Unavailable(
                "unavailable",
                "The object store does not answer ranges: name another in PLAIT_OBJECT_STORE.",
            )
        self.etag = self.etag or answer.get("ETag", "")
        return answer


_FORESEEN = (Refusal.ABSENT, Refusal.CONDITION, Refusal.OUT_OF_RANGE)


def missing(object_id: ObjectId) -> NotFound:
    """Return the error that an object is not there."""
    return NotFound("object-not-found", f"The object {abbreviate(object_id)} is not stored.")


def find_object_id(key: str, prefix: str) -> ObjectId | None:
    """Return the object whose key it is, or None where it is no object's."""
    match = _KEY.fullmatch(key.removeprefix(prefix))
    return None if match is None else ObjectId(match[2])


def to_utc(time: datetime) -> str:
    """Return a time as 2026-11-24T06:07:00Z."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_checksum(digest: ObjectId) -> str:
    """Return a sha256 as S3 writes it."""
    return base64.b64encode(bytes.fromhex(digest)).decode("ascii")


def _wrong_bytes(object_id: ObjectId) -> Integrity:
    return Integrity(
        "digest-mismatch", f"The bytes for {abbreviate(object_id)} have another sha256."
    )
