"""What a store enforces, found out at the start with keys that are thrown away.

Stores that speak S3 differ: some check `x-amz-checksum-sha256` and conditions, some ignore them,
some refuse requests that have them. The registry verifies every object itself before anything
refers to it, so none of this decides whether a wrong byte becomes visible. It decides how early a
wrong one is refused, and which headers can be signed at all.

Only a lack of access ends the start.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from plait.errors import Unavailable
from plait_registry.adapters.s3_client import Refusal, Refused, S3Bucket
from plait_registry.adapters.s3_location import S3Location

_LOG = logging.getLogger("plait_registry.store")

_CONTENT = b"plait probes what this store enforces"
_OTHER = b"plait probes what this store ignores_"
_CHECKSUM = base64.b64encode(hashlib.sha256(_CONTENT).digest()).decode("ascii")


class Support(StrEnum):
    """What a store does with a header."""

    ENFORCED = "enforced"
    """A request that breaks it fails."""
    IGNORED = "ignored"
    """A request that breaks it succeeds."""
    REFUSED = "refused"
    """A request that has it fails, also where it would hold: it must not be signed."""


@dataclass(frozen=True, slots=True)
class StoreFeatures:
    """What a store enforces; the defaults are Amazon's."""

    checksum: Support = Support.ENFORCED
    """`x-amz-checksum-sha256` of an object in one request."""
    create_only: Support = Support.ENFORCED
    """`If-None-Match: *` of an object in one request."""
    part_checksum: Support = Support.ENFORCED
    """`x-amz-checksum-sha256` of a part."""
    create_only_parts: Support = Support.ENFORCED
    """`If-None-Match: *` where parts are joined."""
    conditional_delete: Support = Support.ENFORCED
    """`If-Match` of a deletion."""
    ranges: Support = Support.ENFORCED
    """`Range` of a read."""

    def to_json(self) -> dict[str, str]:
        """Return the facts as they are logged."""
        return {name: value.value for name, value in asdict(self).items()}

    def list_gaps(self) -> list[str]:
        """Return what the store does not enforce."""
        return [name for name, value in self.to_json().items() if value != Support.ENFORCED]


def report(location: S3Location, features: StoreFeatures) -> None:
    """Log once what was found, as facts; what is not enforced is a warning."""
    _LOG.info("The object store %s: %s", location, json.dumps(features.to_json()))
    if gaps := features.list_gaps():
        _LOG.warning(
            "The object store %s does not enforce %s: only the registry's own verification stands "
            "between wrong bytes and a version.",
            location,
            ", ".join(gaps),
        )


def probe_store(bucket: S3Bucket) -> StoreFeatures:
    """Find out what the store enforces, and remove every trace.

    Raises:
        Unavailable: the registry cannot write, read and delete there.
    """
    probe = _Probe(bucket)
    try:
        probe.verify_access()
        return StoreFeatures(
            checksum=probe.checksum(),
            create_only=probe.create_only(),
            part_checksum=probe.part_checksum(),
            create_only_parts=probe.create_only_parts(),
            ranges=probe.ranges(),
            conditional_delete=probe.conditional_delete(),
        )
    finally:
        probe.clean()


class _Probe:
    """The questions, each asked of a key of its own or of the one that `verify_access` stored."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket
        self._folder = f"{bucket.location.prefix}probe/{secrets.token_hex(8)}/"
        self._stored = f"{self._folder}stored"
        self._keys = {self._stored}
        self._uploads: list[tuple[str, str]] = []

    def verify_access(self) -> None:
        """Write, read, list and delete."""
        first = self._key("first")
        for key in (first, self._stored):
            self._bucket.call("put_object", Key=key, Body=_CONTENT)
        self._bucket.call("get_object", Key=self._stored)["Body"].close()
        self._bucket.call("list_objects_v2", Prefix=self._folder, MaxKeys=1)
        self._bucket.call("delete_object", Key=first)

    def checksum(self) -> Support:
        def send(content: bytes) -> None:
            self._ask("put_object", Key=self._key("sum"), ChecksumSHA256=_CHECKSUM, Body=content)

        return _judge(lambda: send(_OTHER), lambda: send(_CONTENT))

    def create_only(self) -> Support:
        def create(key: str) -> None:
            self._ask("put_object", Key=key, Body=_CONTENT, IfNoneMatch="*")

        return _judge(lambda: create(self._stored), lambda: create(self._key("new")))

    def part_checksum(self) -> Support:
        def send(content: bytes) -> None:
            key = self._key("parts")
            upload = self._begin(key, ChecksumAlgorithm="SHA256")
            place = {"Key": key, "UploadId": upload, "PartNumber": 1}
            self._ask("upload_part", **place, Body=content, ChecksumSHA256=_CHECKSUM)

        return _judge(lambda: send(_OTHER), lambda: send(_CONTENT))

    def create_only_parts(self) -> Support:
        def join(key: str) -> None:
            place = {"Key": key, "UploadId": self._begin(key)}
            part = self._bucket.call("upload_part", PartNumber=1, Body=_CONTENT, **place)
            parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
            self._ask("complete_multipart_upload", MultipartUpload=parts, IfNoneMatch="*", **place)

        return _judge(lambda: join(self._stored), lambda: join(self._key("joined")))

    def conditional_delete(self) -> Support:
        def delete(content: bytes) -> None:
            etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
            self._ask("delete_object", Key=self._stored, IfMatch=f'"{etag}"')

        return _judge(lambda: delete(_OTHER), lambda: delete(_CONTENT))

    def ranges(self) -> Support:
        try:
            answer = self._bucket.call("get_object", Key=self._stored, Range="bytes=1-2")
        except Unavailable:
            return Support.REFUSED
        answer["Body"].close()
        return Support.ENFORCED if "ContentRange" in answer else Support.IGNORED

    def clean(self) -> None:
        """Remove everything; a store that went away meanwhile keeps a few bytes."""
        for key, upload in self._uploads:
            with contextlib.suppress(Unavailable, Refused):
                self._bucket.call(
                    "abort_multipart_upload", Refusal.ABSENT, Key=key, UploadId=upload
                )
        for key in sorted(self._keys):
            with contextlib.suppress(Unavailable):
                self._bucket.call("delete_object", Key=key)

    def _key(self, name: str) -> str:
        key = f"{self._folder}{name}"
        self._keys.add(key)
        return key

    def _begin(self, key: str, **options: str) -> str:
        answer = self._bucket.call("create_multipart_upload", *_FORESEEN, Key=key, **options)
        self._uploads.append((key, answer["UploadId"]))
        return str(answer["UploadId"])

    def _ask(self, operation: str, **parameters: Any) -> None:
        self._bucket.call(operation, *_FORESEEN, **parameters)


_FORESEEN = (Refusal.CONDITION, Refusal.WRONG_BYTES, Refusal.UNSUPPORTED)


def _judge(wrong: Callable[[], None], right: Callable[[], None]) -> Support:
    """Tell what a store does with a request that it should refuse, beside one that it should not.

    Codes of errors differ between stores, so what counts is that it tells the two apart.
    """
    try:
        wrong()
    except (Refused, Unavailable):
        try:
            right()
        except (Refused, Unavailable):
            return Support.REFUSED
        return Support.ENFORCED
    return Support.IGNORED
