"""URLs that allow whoever holds them to send one request to the object gateway, for a while.

The signature is HMAC-SHA256 over everything that decides what the request does: method, path,
every query parameter and, for an upload of a whole object, the headers that make the store refuse
wrong bytes and overwrites. The range that a read is limited to is a parameter, `span`, so that the
gateway knows it whatever the headers say. It says nothing about who sends the request. Rules:

- Whatever is not exactly what was signed is `signed-url-invalid`, without a word about which part.
- The expiry is looked at only after the signature, so that an altered one is invalid, not expired.
- A signature for GET allows HEAD too, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from plait.errors import PermissionDenied
from plait.model.byte_range import find_range, write_range
from plait.model.ids import ObjectId
from plait.wire import CHECKSUM_HEADER
from plait_registry.domain.ports import SignedRequest

OBJECTS_PATH = "/objects"
LIFETIME = 3_600
"""Seconds that a URL is good for."""

NO_DIGEST = ObjectId("")
_READ_FIELDS = ("expires",)
_SPAN = "span"
"""The field of a read that is limited to one range; written as the header `range` is."""
_UPLOAD_FIELDS = ("expires", "handle", "offset", "size", "total")
_CREATE_ONLY = {"if-none-match": "*"}
"""By which the store refuses to overwrite a whole object; parts have no name yet."""
_PATH = re.compile(re.escape(OBJECTS_PATH) + "/([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a signed URL allows."""

    object_id: ObjectId
    handle: str = ""
    """The upload's; empty for a read."""
    offset: int = 0
    """Where the request's bytes begin inside the object."""
    size: int = 0
    """Bytes of the request's body."""
    total: int = 0
    """Bytes of the object."""
    digest: ObjectId = NO_DIGEST
    """The sha256 of the request's body; empty for a read."""

    @property
    def is_whole(self) -> bool:
        """Whether the request carries all of the object."""
        return self.offset == 0 and self.size == self.total


@dataclass(frozen=True, slots=True)
class ReadGrant:
    """What a signed URL allows to read."""

    object_id: ObjectId
    span: tuple[int, int] | None
    """The begin and the end of exactly what is answered; None: whatever range is asked for."""


def encode_checksum(object_id: str) -> str:
    """Return a hexadecimal sha256 as the checksum header wants it."""
    return base64.b64encode(bytes.fromhex(object_id)).decode("ascii")


def decode_checksum(header: str) -> ObjectId:
    """Return what `encode_checksum` was given."""
    return ObjectId(base64.b64decode(header).hex())


class UrlSigner:
    """Signs and checks the URLs of one registry."""

    def __init__(
        self, key: bytes, *, lifetime: int = LIFETIME, now: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._lifetime = lifetime
        self._now = now

    def sign_read(self, object_id: ObjectId, span: tuple[int, int] | None = None) -> SignedRequest:
        """Return a request for any range of an object, or for exactly `span` of it."""
        wanted = None if span is None else write_range(*span)
        query = {} if wanted is None else {_SPAN: wanted}
        headers = {} if wanted is None else {"range": wanted}
        return SignedRequest("GET", self._sign("GET", object_id, query, {}), headers)

    def sign_upload(self, grant: Grant) -> SignedRequest:
        """Return a request that uploads an object, or a part of one."""
        headers = {CHECKSUM_HEADER: encode_checksum(grant.digest)}
        if grant.is_whole:
            headers |= _CREATE_ONLY
        query = {
            "handle": grant.handle,
            "offset": str(grant.offset),
            "size": str(grant.size),
            "total": str(grant.total),
        }
        return SignedRequest("PUT", self._sign("PUT", grant.object_id, query, headers), headers)

    def verify_read(self, path: str, query: str) -> ReadGrant:
        """Return what a GET or HEAD may read.

        Raises:
            PermissionDenied: `signed-url-invalid`, `signed-url-expired`.
        """
        fields = _parse_query(query, _READ_FIELDS, optional=_SPAN)
        self._verify("GET", path, fields, {})
        if _SPAN not in fields:
            return ReadGrant(_parse_path(path), None)
        span = find_range(fields[_SPAN])
        if span is None:
            raise _invalid()
        return ReadGrant(_parse_path(path), span)

    def verify_upload(self, path: str, query: str, headers: Mapping[str, str]) -> Grant:
        """Return what a PUT may upload; `headers` have lowercase names.

        Raises:
            PermissionDenied: `signed-url-invalid`, `signed-url-expired`.
        """
        fields = _parse_query(query, _UPLOAD_FIELDS)
        object_id = _parse_path(path)
        whole = fields["offset"] == "0" and fields["size"] == fields["total"]
        names = (CHECKSUM_HEADER, *(_CREATE_ONLY if whole else ()))
        self._verify("PUT", path, fields, {name: headers.get(name, "") for name in names})
        return Grant(
            object_id,
            fields["handle"],
            int(fields["offset"]),
            int(fields["size"]),
            int(fields["total"]),
            decode_checksum(headers[CHECKSUM_HEADER]),
        )

    def _sign(
        self, method: str, object_id: ObjectId, query: dict[str, str], headers: Mapping[str, str]
    ) -> str:
        path = f"{OBJECTS_PATH}/{object_id}"
        fields = {**query, "expires": str(int(self._now()) + self._lifetime)}
        fields["signature"] = self._digest(method, path, fields, headers)
        return f"{path}?{urlencode(fields)}"

    def _verify(
        self, method: str, path: str, fields: dict[str, str], headers: Mapping[str, str]
    ) -> None:
        signature = fields.pop("signature")
        expected = self._digest(method, path, fields, headers)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise _invalid()
        if int(fields["expires"]) < self._now():
            raise PermissionDenied(
                "signed-url-expired",
                "This signed URL has expired: ask the registry for a new one.",
            )

    def _digest(
        self, method: str, path: str, fields: Mapping[str, str], headers: Mapping[str, str]
    ) -> str:
        lines = ["plait-signed-url/1", method, path]
        lines += [f"{name}={fields[name]}" for name in sorted(fields)]
        lines += [f"{name}:{headers[name]}" for name in sorted(headers)]
        return hmac.new(self._key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()


def _parse_path(path: str) -> ObjectId:
    match = _PATH.fullmatch(path)
    if match is None:
        raise _invalid()
    return ObjectId(match[1])


def _parse_query(query: str, names: tuple[str, ...], *, optional: str = "") -> dict[str, str]:
    """Return the parameters, which must be exactly `names` and a signature, each once.

    The parameter `optional` may be there, too.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=16)
    except ValueError:
        raise _invalid() from None
    fields = dict(pairs)
    if len(pairs) != len(fields) or fields.keys() - {optional} != {*names, "signature"}:
        raise _invalid()
    # A line break in a value could make two different requests read the same to the signature.
    if any("\n" in value for value in fields.values()):
        raise _invalid()
    return fields


def _invalid() -> PermissionDenied:
    return PermissionDenied(
        "signed-url-invalid",
        "The signature does not fit the request: send it exactly as the registry gave it, with "
        "its method, its URL and its headers.",
    )
