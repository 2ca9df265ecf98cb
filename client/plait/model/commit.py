"""A commit: a manifest with its parents, author, time, message, base and origin.

Its id is the sha256 of its canonical JSON, so a commit names its whole history. Metrics and
evaluation results are no part of it: they hang on a commit as notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.fields import Fields
from plait.model.ids import (
    CommitId,
    ManifestId,
    ObjectId,
    hash_bytes,
    parse_commit_id,
    parse_manifest_id,
    parse_object_id,
)

FORMAT = "plait.commit/1"
LONGEST_MESSAGE = 65_536
LONGEST_NAME = 1_024
MOST_PARENTS = 256
LARGEST_COMMIT = 1_000_000

_KIND = "invalid-commit"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f<>\ud800-\udfff]")


class OriginKind(StrEnum):
    """How a version came about."""

    TRAINING = "training"  # somebody trained it; the ordinary case
    COMPOSITION = "composition"  # a recipe over other versions
    EXTRACTION = "extraction"  # a full fine-tune minus its base
    AGGREGATION = "aggregation"  # a federated round
    IMPORT = "import"  # brought in from another system
    REVERT = "revert"  # takes back what other commits did
    MERGE = "merge"  # two lines of history, joined file by file


@dataclass(frozen=True, slots=True)
class Person:
    """Who made a commit, as they named themselves."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" if self.email else self.name


@dataclass(frozen=True, slots=True)
class Base:
    """The frozen model that an adapter belongs to."""

    name: str
    revision: str | None = None
    fingerprint: ObjectId | None = None
    """sha256 over the sorted lines `<tensor name> <dtype> <shape> <sha256>`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How a version came about, with the facts that belong to that kind."""

    kind: OriginKind
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commit:
    """One version in its history."""

    manifest: ManifestId
    parents: tuple[CommitId, ...]
    """The first parent is the version that this one continues."""
    author: Person
    time: str
    """UTC to the second, as `2026-11-24T06:07:00Z`; sorts as text."""
    message: str
    base: Base
    origin: Origin

    @classmethod
    def from_json(cls, value: object) -> Commit:
        """Parse a commit's JSON document.

        Raises:
            InvalidInput: it breaks a rule of the format.
        """
        fields = Fields(value, kind=_KIND, where="The commit")
        fields.only(
            ("format", "manifest", "parents", "author", "time", "message", "base", "origin")
        )
        if fields.text("format") != FORMAT:
            raise fields.error(f"is not of the format {FORMAT!r}")
        commit = cls(
            manifest=parse_manifest_id(fields.get("manifest")),
            parents=tuple(parse_commit_id(item) for item in fields.items("parents")),
            author=_parse_person(fields.get("author")),
            time=fields.text("time"),
            message=fields.text("message", longest=LONGEST_MESSAGE),
            base=_parse_base(fields.get("base")),
            origin=_parse_origin(fields.get("origin")),
        )
        _verify(commit)
        return commit

    @classmethod
    def from_bytes(cls, data: bytes) -> Commit:
        """Parse canonical bytes; raises as `from_json` does, also where they are not canonical."""
        if len(data) > LARGEST_COMMIT:
            raise InvalidInput(_KIND, f"The commit is larger than {LARGEST_COMMIT} bytes.")
        commit = cls.from_json(canonical.loads(data))
        if commit.to_bytes() != data:
            raise InvalidInput(_KIND, "The commit is not in canonical JSON.")
        return commit

    def to_json(self) -> dict[str, Any]:
        """Return the document that the commit's id is computed from."""
        return {
            "format": FORMAT,
            "manifest": self.manifest,
            "parents": list(self.parents),
            "author": {"name": self.author.name, "email": self.author.email},
            "time": self.time,
            "message": self.message,
            "base": {
                "name": self.base.name,
                "revision": self.base.revision,
                "fingerprint": self.base.fingerprint,
            },
            "origin": {**self.origin.facts, "kind": self.origin.kind.value},
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.dumps(self.to_json())

    @property
    def id(self) -> CommitId:
        """The sha256 of the canonical bytes; computed at each call."""
        return CommitId(hash_bytes(self.to_bytes()))

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.split("\n", 1)[0]


def clean_message(message: str) -> str:
    """Return a commit's message without white space at its end.

    Raises:
        InvalidInput: nothing is left.
    """
    cleaned = message.strip("\n").rstrip()
    if not cleaned.strip():
        raise InvalidInput("usage", "The commit's message is empty: say what changed (-m MESSAGE).")
    return cleaned


def _parse_person(value: object) -> Person:
    fields = Fields(value, kind=_KIND, where="The commit's author")
    fields.only(("name", "email"))
    return Person(
        fields.text("name", longest=LONGEST_NAME), fields.text("email", longest=LONGEST_NAME)
    )


def _parse_base(value: object) -> Base:
    fields = Fields(value, kind=_KIND, where="The commit's base")
    fields.only(("name", "revision", "fingerprint"))
    fingerprint = fields.get("fingerprint")
    return Base(
        fields.text("name", longest=LONGEST_NAME),
        fields.optional_text("revision"),
        None if fingerprint is None else parse_object_id(fingerprint),
    )


def _parse_origin(value: object) -> Origin:
    fields = Fields(value, kind=_KIND, where="The commit's origin")
    kind = fields.text("kind")
    try:
        origin_kind = OriginKind(kind)
    except ValueError:
        raise fields.error(f"has the unknown kind {kind!r:.80}") from None
    facts = {str(key): fact for key, fact in dict(value).items() if key != "kind"}  # type: ignore[call-overload]
    return Origin(origin_kind, facts)


def _is_time(text: str) -> bool:
    if _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:  # a day that no calendar has
        return False
    return True


def _verify(commit: Commit) -> None:
    if not _is_time(commit.time):
        raise InvalidInput(
            _KIND, f"The commit's time {commit.time!r:.40} is not UTC as 2026-11-24T06:07:00Z."
        )
    if len(commit.parents) > MOST_PARENTS:
        raise InvalidInput(_KIND, f"The commit has more than {MOST_PARENTS} parents.")
    if len(set(commit.parents)) != len(commit.parents):
        raise InvalidInput(_KIND, "The commit names the same parent twice.")
    for what, text in (("name", commit.author.name), ("email", commit.author.email)):
        if _UNPRINTABLE.search(text):
            raise InvalidInput(
                _KIND, f"The author's {what} has a control character or an angle bracket."
            )
    if not commit.author.name.strip():
        raise InvalidInput(_KIND, "The commit's author has no name.")
    if not commit.base.name.strip() or _UNPRINTABLE.search(commit.base.name):
        raise InvalidInput(
            "base-unknown",
            "The commit does not name the base model that its adapter belongs to: give it one "
            "with --base NAME[@REVISION].",
        )
