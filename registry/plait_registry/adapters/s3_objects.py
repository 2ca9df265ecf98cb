"""Objects in a bucket: `<prefix>objects/sha256/ab/<64 hexadecimal digits>`.

- An object is created only where there is none (`If-None-Match: *`), and the store checks its
  sha256, as far as it can; `s3_probe` finds out how far.
- How they are read, even where connections are cut, is in `s3_reading`.
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

from typing_extensions import override

from plait.errors import Integrity, NotFound
from plait.model.ids import ObjectId, abbreviate, hash_bytes
from plait_registry.adapters.s3_client import Refusal, Refused, S3Bucket
from plait_registry.adapters.s3_probe import StoreFeatures, Support
from plait_registry.adapters.s3_reading import RangeReader, Reading, missing
from plait_registry.domain.ports import ObjectStore, StoredObject

_KEY = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})")


class S3Objects(ObjectStore):
    """The object store of one bucket."""

    def __init__(self, bucket: S3Bucket, features: StoreFeatures, *, impatient: S3Bucket) -> None:
        """Take the bucket, and the same with less patience, for `check`."""
        self._bucket = bucket
        self._features = features
        self._impatient = impatient
        self._ranges = RangeReader(bucket)

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
        return self._ranges.read(object_id, start, stop)

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
        reading = Reading(self._bucket, object_id)
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
