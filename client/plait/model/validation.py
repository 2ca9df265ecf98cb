"""What a validator saw of one commit under one definition, and how it is judged.

- A validation is a document, `plait.validation/1`: the digests that came out, the verdict, and
  what the machine was. Its id is the sha256 of its canonical JSON.
- `judge` compares a merge with the expected digests. Where there are none yet, whoever validates
  stores its own as the first: that proves nothing but that later ones agree with it.
- Documents come from other machines: sizes are bounded, unknown fields are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.fields import Fields
from plait.model.ids import CommitId, ObjectId, hash_bytes, parse_commit_id, parse_object_id
from plait.model.merge_digests import DEFINITION, MergeDigests

FORMAT = "plait.validation/1"
MOST_DIFFERENCES = 10
"""That are named; `Validation.differing` counts them all."""
MOST_TENSORS = 100_000
LARGEST_VALIDATION = 16_000_000
"""Bytes of the canonical document: the names and digests of 100,000 tensors."""
LARGEST_FACTS = 4_000_000
"""Bytes of `health` and of `probes`: a few figures for each module of a large model."""
LONGEST_TEXT = 4_000
MOST_ENVIRONMENT = 100


_KIND = "invalid-validation"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_DEFINITION = re.compile(r"[a-z0-9][a-z0-9.+-]{0,99}")
_FIELDS = (
    "format",
    "definition",
    "commit",
    "base",
    "base_weights",
    "verdict",
    "root",
    "tensors",
    "differing",
    "differences",
    "health",
    "probes",
    "environment",
    "message",
    "started_at",
    "ended_at",
)


class Verdict(StrEnum):
    """What a validator says of a commit."""

    VERIFIED = "verified"  # every merged tensor has the expected digest, outputs agree
    MISMATCH = "mismatch"  # a merged tensor has another digest: these are other weights
    DRIFT = "drift"  # the weights are equal, the model's outputs beyond tolerance
    NOT_MERGEABLE = "not-mergeable"  # no definition covers this adapter, or not on this base
    ERROR = "error"  # the validator could not finish; says nothing about the commit


class BaseWeights(StrEnum):
    """Which weights of the base were merged into."""

    ORIGINAL = "original"  # 16- or 32-bit weights, as they are stored
    DEQUANTISED = "dequantised"  # computed from a quantised base


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor whose digest is not the expected one."""

    name: str
    expected: ObjectId | None
    """None: nobody expected such a tensor."""
    actual: ObjectId | None
    """None: the merge did not make it."""
    detail: str = ""
    """By how much, where the validator could tell: a sentence for people."""

    def to_json(self) -> dict[str, Any]:
        """Return the document's part."""
        return {
            "name": self.name,
            "expected": self.expected,
            "actual": self.actual,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """What comparing a merge with the expected digests gave."""

    verdict: Verdict
    differing: int
    """How many tensors differ."""
    differences: tuple[Difference, ...]
    """The first of them, by name."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validator saw of one commit under one definition."""

    definition: str
    """Of the merge, as `merge-fp64-v1`."""
    commit: CommitId
    base: ObjectId | None
    """The fingerprint of the base that was merged into; None where none was found."""
    base_weights: BaseWeights
    verdict: Verdict
    started_at: str
    """UTC to the second, as `2026-11-24T06:07:00Z`."""
    ended_at: str
    root: ObjectId | None = None
    """Of the merged tensors; None where the merge was not finished."""
    tensors: Mapping[str, ObjectId] = field(default_factory=dict)
    """The sha256 of each merged tensor; none where the merge was not finished."""
    differing: int = 0
    differences: tuple[Difference, ...] = ()
    health: Mapping[str, Any] = field(default_factory=dict)
    """Figures for people: norms of changes, shares, non-finite values."""
    probes: Mapping[str, Any] = field(default_factory=dict)
    """What layer and model probes gave, by probe; compared by later validations."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Device, driver and versions of libraries."""
    message: str = ""
    """Why it is not mergeable, or what the error was; for people."""

    @classmethod
    def from_json(cls, value: object) -> Validation:
        """Parse a validation's document.

        Raises:
            InvalidInput: `invalid-validation`, it breaks a rule of the format.
        """
        fields = Fields(value, kind=_KIND, where="The validation")
        fields.only(_FIELDS)
        if fields.text("format") != FORMAT:
            raise fields.error(f"is not of the format {FORMAT!r}")
        base, root = fields.get("base"), fields.get("root")
        validation = cls(
            definition=parse_definition(fields.get("definition")),
            commit=parse_commit_id(fields.get("commit")),
            base=None if base is None else parse_object_id(base),
            base_weights=fields.choice("base_weights", BaseWeights),
            verdict=fields.choice("verdict", Verdict),
            started_at=_parse_time(fields, "started_at"),
            ended_at=_parse_time(fields, "ended_at"),
            root=None if root is None else parse_object_id(root),
            tensors=_parse_tensors(fields),
            differing=fields.count("differing"),
            differences=tuple(_parse_difference(item) for item in fields.items("differences")),
            health=_parse_facts(fields, "health"),
            probes=_parse_facts(fields, "probes"),
            environment=_parse_environment(fields),
            message=fields.text("message", longest=LONGEST_TEXT),
        )
        _verify(validation, fields)
        return validation

    @property
    def digests(self) -> MergeDigests | None:
        """What the merge came out as; None where it was not finished."""
        if self.root is None:
            return None
        return MergeDigests.of(self.tensors, definition=self.definition)

    @property
    def id(self) -> ObjectId:
        """sha256 of the canonical JSON."""
        return hash_bytes(self.to_bytes())

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "format": FORMAT,
            "definition": self.definition,
            "commit": self.commit,
            "base": self.base,
            "base_weights": self.base_weights.value,
            "verdict": self.verdict.value,
            "root": self.root,
            "tensors": dict(self.tensors),
            "differing": self.differing,
            "differences": [item.to_json() for item in self.differences],
            "health": dict(self.health),
            "probes": dict(self.probes),
            "environment": dict(self.environment),
            "message": self.message,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.dumps(self.to_json())


def judge(
    expected: MergeDigests | None,
    merged: MergeDigests,
    *,
    has_drifted: bool = False,
    details: Mapping[str, str] | None = None,
) -> Judgement:
    """Return the verdict over a finished merge.

    `has_drifted` is what comparing the model's outputs gave; `details` says by name how much a
    tensor differs, where somebody could tell. Without expected digests nothing can differ.

    Raises:
        InvalidInput: `invalid-validation`, the two are of different definitions.
    """
    said = {} if details is None else details
    names: list[str] = []
    if expected is not None:
        if expected.definition != merged.definition:
            raise InvalidInput(
                _KIND,
                f"Digests by {expected.definition!r} say nothing about a merge by "
                f"{merged.definition!r}: compare those of one definition.",
            )
        names = expected.find_differences(merged)
    held: Mapping[str, ObjectId] = {} if expected is None else expected.tensors
    differences = tuple(
        Difference(name, held.get(name), merged.tensors.get(name), said.get(name, ""))
        for name in names[:MOST_DIFFERENCES]
    )
    if names:
        return Judgement(Verdict.MISMATCH, len(names), differences)
    return Judgement(Verdict.DRIFT if has_drifted else Verdict.VERIFIED, 0, ())


def parse_definition(value: object) -> str:
    """Return the name of a merge's definition.

    Raises:
        InvalidInput: `invalid-validation`, it is no such name.
    """
    if not isinstance(value, str) or _DEFINITION.fullmatch(value) is None:
        raise InvalidInput(
            _KIND, f"The definition is a name as {DEFINITION!r}: small letters, digits, . + and -."
        )
    return value


def _parse_time(fields: Fields, name: str) -> str:
    text = fields.text(name)
    if _TIME.fullmatch(text) is None:
        raise fields.error(f"needs a time as 2026-11-24T06:07:00Z as {name!r}")
    return text


def _parse_tensors(fields: Fields) -> Mapping[str, ObjectId]:
    held = fields.get("tensors")
    if not isinstance(held, dict) or len(held) > MOST_TENSORS:
        raise fields.error(f"needs an object of at most {MOST_TENSORS} digests as 'tensors'")
    for name in held:
        if not name or "\n" in name or len(name) > LONGEST_TEXT:
            raise fields.error("has a tensor whose name is empty or no single line")
    return {name: parse_object_id(digest) for name, digest in held.items()}


def _parse_difference(value: object) -> Difference:
    fields = Fields(value, kind=_KIND, where="A difference")
    fields.only(("name", "expected", "actual", "detail"))
    expected, actual = fields.get("expected"), fields.get("actual")
    return Difference(
        fields.text("name", longest=LONGEST_TEXT),
        None if expected is None else parse_object_id(expected),
        None if actual is None else parse_object_id(actual),
        fields.text("detail", longest=LONGEST_TEXT),
    )


def _parse_facts(fields: Fields, name: str) -> Mapping[str, Any]:
    held = fields.get(name)
    if not isinstance(held, dict):
        raise fields.error(f"needs an object as {name!r}")
    if len(canonical.dumps(held)) > LARGEST_FACTS:
        raise fields.error(f"has over {LARGEST_FACTS} bytes as {name!r}")
    return held


def _parse_environment(fields: Fields) -> Mapping[str, str]:
    held = fields.get("environment")
    if not isinstance(held, dict) or len(held) > MOST_ENVIRONMENT:
        raise fields.error(f"needs an object of at most {MOST_ENVIRONMENT} texts as 'environment'")
    for name, text in held.items():
        if not isinstance(text, str) or max(len(name), len(text)) > LONGEST_TEXT:
            raise fields.error(f"has an entry {name!r:.80} in 'environment' that is no short text")
    return held


def _verify(validation: Validation, fields: Fields) -> None:
    merged = validation.digests
    if merged is not None and merged.root != validation.root:
        raise fields.error("has a root that is not that of its tensors")
    if merged is None and validation.tensors:
        raise fields.error("has tensors without a root")
    shown = min(validation.differing, MOST_DIFFERENCES)
    if len(validation.differences) != shown:
        raise fields.error(f"names {len(validation.differences)} differences, not {shown}")
    if (validation.verdict is Verdict.MISMATCH) != (validation.differing > 0):
        raise fields.error("is a mismatch without differences, or has some and is none")
    is_finished = validation.verdict in {Verdict.VERIFIED, Verdict.MISMATCH, Verdict.DRIFT}
    if is_finished and (merged is None or validation.base is None):
        raise fields.error(f"says {validation.verdict.value!r} without a base and merged digests")
    if validation.ended_at < validation.started_at:
        raise fields.error("ends before it starts")
    if len(validation.to_bytes()) > LARGEST_VALIDATION:
        raise fields.error(f"is larger than {LARGEST_VALIDATION} bytes")
