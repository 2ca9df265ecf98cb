"""Signed requests to a bucket: clients send and fetch bytes without the registry between.

A whole object goes by one PUT, a larger one by S3's multipart upload. Each request is signed with
the sha256 of its body, its length, and for a whole object `If-None-Match: *`: what the holder of
the URL can send are exactly these bytes. A part that arrived may be sent again, but only the same.
The range that a read is limited to is a signed header, without which the store refuses the request.

The handle of an upload in parts is S3's upload id. The store may drop such an upload by itself (a
lifecycle rule of the bucket) or by garbage collection; `sign_upload` says so, and the service
begins another one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import override

from plait.errors import Integrity, InvalidInput, NotFound
from plait.model.byte_range import write_range
from plait.model.ids import ObjectId, abbreviate
from plait.model.part_sizes import MIB, PartSizes
from plait.wire import CHECKSUM_HEADER
from plait_registry.adapters.s3_client import Refusal, Refused, S3Bucket
from plait_registry.adapters.s3_objects import (
    S3Objects,
    find_object_id,
    to_checksum,
    to_utc,
)
from plait_registry.adapters.s3_probe import StoreFeatures, Support
from plait_registry.adapters.s3_reading import missing
from plait_registry.domain.ports import SignedPart, SignedRequest, Transfers, UnfinishedUpload

PART_SIZE = 32 * MIB
"""Stores look up each part when it is written and when the object is read: fewer are faster."""


class S3Transfers(Transfers):
    """Uploads to and reads from a bucket by presigned URLs."""

    def __init__(
        self,
        bucket: S3Bucket,
        objects: S3Objects,
        features: StoreFeatures,
        *,
        seconds: int,
        sizes: PartSizes | None = None,
    ) -> None:
        """Sign URLs that are good for `seconds`."""
        self._bucket = bucket
        self._objects = objects
        self._features = features
        self._seconds = seconds
        self._sizes = sizes or PartSizes(part=PART_SIZE)

    @property
    @override
    def sizes(self) -> PartSizes:
        return self._sizes

    @override
    def begin_upload(self, object_id: ObjectId, size: int) -> str:
        key = self._bucket.key_of(object_id)
        if size < 0:
            raise InvalidInput("invalid-input", f"An object cannot have {size} bytes.")
        if self._sizes.is_whole(size):
            return secrets.token_hex(16)
        algorithm: dict[str, str] = {}
        # Amazon takes checksums of parts only where the upload began with their algorithm.
        if self._features.part_checksum is not Support.REFUSED:
            algorithm = {"ChecksumAlgorithm": "SHA256"}
        answer = self._bucket.call("create_multipart_upload", Key=key, **algorithm)
        return str(answer["UploadId"])

    @override
    def sign_upload(
        self, object_id: ObjectId, size: int, handle: str, parts: Sequence[ObjectId]
    ) -> Sequence[SignedPart]:
        if self._objects.stat(object_id) is not None:
            return ()
        tiles = self._sizes.tile_with(object_id, size, parts)
        if self._sizes.is_whole(size):
            return (SignedPart(0, size, self._sign_whole(object_id, size)),)
        arrived = self._list_parts(object_id, handle)
        signed = []
        for number, (offset, part, digest) in enumerate(tiles, start=1):
            there = number in arrived and _is_part(arrived[number], part, digest)
            request = None if there else self._sign_part(object_id, handle, number, part, digest)
            signed.append(SignedPart(offset, part, request))
        return signed

    @override
    def finish_upload(self, object_id: ObjectId, size: int, handle: str) -> None:
        # (1) It may be finished: by an earlier call, or by another upload of the same object.
        stored = self._is_stored(object_id, size)
        if self._sizes.is_whole(size):
            if not stored:
                raise missing(object_id)
            return
        if stored:
            self.abandon_upload(object_id, handle)
            return
        # (2) All parts have to be there.
        try:
            arrived = self._list_parts(object_id, handle)
        except NotFound:
            # Another call may have completed it since (1).
            if self._is_stored(object_id, size):
                return
            raise missing(object_id) from None
        tiles = list(enumerate(self._sizes.tile(size), start=1))
        if any(number not in arrived or arrived[number]["Size"] != p for number, (_, p) in tiles):
            raise missing(object_id)
        # (3) The store joins them.
        self._complete(object_id, handle, [arrived[number] for number, _ in tiles])
        if not self._is_stored(object_id, size):
            raise missing(object_id)

    @override
    def abandon_upload(self, object_id: ObjectId, handle: str) -> None:
        key = self._bucket.key_of(object_id)
        try:
            self._bucket.call("abort_multipart_upload", Refusal.ABSENT, Key=key, UploadId=handle)
        except Refused:
            return

    @override
    def list_uploads(self) -> Iterator[UnfinishedUpload]:
        prefix = self._bucket.objects_prefix
        for page in self._bucket.pages("list_multipart_uploads", Prefix=prefix):
            for item in page.get("Uploads", ()):
                object_id = find_object_id(item["Key"], prefix)
                if object_id is not None:
                    yield UnfinishedUpload(object_id, item["UploadId"], to_utc(item["Initiated"]))

    @override
    def sign_read(self, object_id: ObjectId, span: tuple[int, int] | None = None) -> SignedRequest:
        parameters = {"Key": self._bucket.key_of(object_id)}
        headers: dict[str, str] = {}
        if span is not None:
            parameters["Range"] = headers["range"] = write_range(*span)
        url = self._bucket.presign("get_object", self._seconds, **parameters)
        return SignedRequest("GET", url, headers)

    def _sign_whole(self, object_id: ObjectId, size: int) -> SignedRequest:
        parameters: dict[str, Any] = {"Key": self._bucket.key_of(object_id), "ContentLength": size}
        headers: dict[str, str] = {}
        if self._features.checksum is not Support.REFUSED:
            parameters["ChecksumSHA256"] = headers[CHECKSUM_HEADER] = to_checksum(object_id)
        if self._features.create_only is not Support.REFUSED:
            parameters["IfNoneMatch"] = headers["if-none-match"] = "*"
        url = self._bucket.presign("put_object", self._seconds, **parameters)
        return SignedRequest("PUT", url, headers)

    def _sign_part(
        self, object_id: ObjectId, handle: str, number: int, size: int, digest: ObjectId
    ) -> SignedRequest:
        parameters: dict[str, Any] = {
            "Key": self._bucket.key_of(object_id),
            "UploadId": handle,
            "PartNumber": number,
            "ContentLength": size,
        }
        headers: dict[str, str] = {}
        if self._features.part_checksum is not Support.REFUSED:
            parameters["ChecksumSHA256"] = headers[CHECKSUM_HEADER] = to_checksum(digest)
        url = self._bucket.presign("upload_part", self._seconds, **parameters)
        return SignedRequest("PUT", url, headers)

    def _list_parts(self, object_id: ObjectId, handle: str) -> dict[int, Mapping[str, Any]]:
        """Return the parts that arrived, by their number.

        Raises:
            NotFound: `upload-not-found`.
        """
        key = self._bucket.key_of(object_id)
        try:
            pages = self._bucket.pages("list_parts", Refusal.ABSENT, Key=key, UploadId=handle)
            return {item["PartNumber"]: item for page in pages for item in page.get("Parts", ())}
        except Refused as refused:
            raise NotFound(
                "upload-not-found",
                f"The store no longer has the parts of {abbreviate(object_id)}: push again to send "
                "them anew.",
            ) from refused

    def _complete(
        self, object_id: ObjectId, handle: str, arrived: Sequence[Mapping[str, Any]]
    ) -> None:
        condition: dict[str, str] = {}
        if self._features.create_only_parts is not Support.REFUSED:
            condition = {"IfNoneMatch": "*"}
        key = self._bucket.key_of(object_id)
        # Where the store tells the checksums of parts, it wants to be told them again.
        names = ("PartNumber", "ETag", "ChecksumSHA256")
        parts = [{name: item[name] for name in names if name in item} for item in arrived]
        try:
            self._bucket.call(
                "complete_multipart_upload",
                Refusal.CONDITION,
                Refusal.ABSENT,
                Key=key,
                UploadId=handle,
                MultipartUpload={"Parts": parts},
                **condition,
            )
        except Refused as refused:
            # Another upload was first; or this one, by a call whose answer was lost.
            if refused.refusal is Refusal.CONDITION:
                self.abandon_upload(object_id, handle)

    def _is_stored(self, object_id: ObjectId, size: int) -> bool:
        stored = self._objects.stat(object_id)
        if stored is not None and stored != size:
            raise Integrity(
                "size-mismatch",
                f"The object {abbreviate(object_id)} has {stored} bytes, not {size}.",
            )
        return stored is not None


def _is_part(item: Mapping[str, Any], size: int, digest: ObjectId) -> bool:
    """Tell whether what arrived is the part that is meant, as far as the store tells its digest."""
    told = item.get("ChecksumSHA256")
    return item["Size"] == size and told in {None, to_checksum(digest)}
