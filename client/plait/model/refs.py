"""Refs: the names that point at commits.

A branch moves by compare-and-swap; a tag never moves, and the name of a deleted tag is never
used again. Branches and tags share one space of names, so that `name@v1` means one thing.

Names follow git's check-ref-format, narrowed to what survives in a URL and in a shell: ASCII
letters, digits and `. _ - + /`; no part may begin with `.` or `-`, or end with `.` or `.lock`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from plait.errors import InvalidInput
from plait.model.ids import CommitId

RefName = NewType("RefName", str)

DEFAULT_BRANCH = RefName("main")
HEAD = "HEAD"
LONGEST_NAME = 200

_PART = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]*")
_LIKE_AN_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class RefKind(StrEnum):
    """What a ref is."""

    BRANCH = "branch"  # moves with every commit
    TAG = "tag"  # stays where it was made


@dataclass(frozen=True, slots=True)
class Ref:
    """A name and the commit that it points at."""

    kind: RefKind
    name: RefName
    target: CommitId


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """A wish to move a ref, with the state that the wish was made in (compare-and-swap)."""

    kind: RefKind
    name: RefName
    expected: CommitId | None
    """Where the ref must point now; None: it must not exist."""
    new: CommitId
    force: bool = False
    """Allow a move that leaves commits behind; `expected` holds all the same."""


def parse_ref_name(text: object) -> RefName:
    """Return `text` as a ref's name.

    Raises:
        InvalidInput: it breaks a rule, which the message names.
    """
    if not isinstance(text, str):
        raise InvalidInput("invalid-ref-name", "A ref's name must be a string.")
    reason = _reason_against(text)
    if reason is not None:
        raise InvalidInput(
            "invalid-ref-name",
            f"{text!r:.200} cannot name a branch or tag: {reason}. Use letters, digits and . _ - + "
            "with / between parts.",
        )
    return RefName(text)


def _reason_against(text: str) -> str | None:
    if not text:
        return "it is empty"
    if len(text) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} characters"
    if text in {HEAD, "@"}:
        return "the name is reserved"
    if _LIKE_AN_ID.fullmatch(text):
        return "it looks like a commit id"
    for part in text.split("/"):
        if part == "":
            return "it has an empty part"
        if _PART.fullmatch(part) is None:
            return f"the part {part!r:.80} begins with or holds a character that is not allowed"
        if ".." in part or part.endswith((".", ".lock")):
            return f"the part {part!r:.80} holds '..' or ends with '.' or '.lock'"
    return None
