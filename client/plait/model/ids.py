"""Identities: distinct types, so that a commit id is never taken for a file's digest.

All are lowercase sha256 in hexadecimal. People see the first 12 characters.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from plait.errors import InvalidInput

ObjectId = NewType("ObjectId", str)
"""sha256 of an object's bytes; also of a file's and of a tensor's bytes."""
ManifestId = NewType("ManifestId", str)
"""sha256 of a manifest's canonical JSON."""
CommitId = NewType("CommitId", str)
"""sha256 of a commit's canonical JSON."""

ABBREVIATED = 12
SHORTEST_PREFIX = 7

_HEX64 = re.compile(r"[0-9a-f]{64}")


def hash_bytes(data: bytes) -> ObjectId:
    """Return the object id of `data`."""
    return ObjectId(hashlib.sha256(data).hexdigest())


def parse_object_id(text: object) -> ObjectId:
    """Return `text` as an object id.

    Raises:
        InvalidInput: it is not 64 lowercase hexadecimal digits.
    """
    if not isinstance(text, str) or _HEX64.fullmatch(text) is None:
        # Only a string is shown: writing out a large or deep value could fail by itself.
        shown = f"{text!r:.80}" if isinstance(text, str) else f"A {type(text).__name__}"
        raise InvalidInput(
            "invalid-object-id",
            f"{shown} is not an object id: expected 64 lowercase hexadecimal digits.",
        )
    return ObjectId(text)


def parse_manifest_id(text: object) -> ManifestId:
    """Return `text` as a manifest id; raises as `parse_object_id` does."""
    return ManifestId(parse_object_id(text))


def parse_commit_id(text: object) -> CommitId:
    """Return `text` as a commit id; raises as `parse_object_id` does."""
    return CommitId(parse_object_id(text))


def abbreviate(identity: str) -> str:
    """Return the form of an id that people see."""
    return identity[:ABBREVIATED]
