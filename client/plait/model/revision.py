"""Revisions: what a person types to name a commit (gitrevisions(7), the part that is used).

    main, v1.2, feature/x   a branch or tag
    3f9a2c1                 a commit id, or a unique prefix of at least 7 digits
    HEAD, @                 the default branch; in a working copy, what is checked out
    X~N                     the N-th ancestor by first parents
    X^N                     the N-th parent (^ alone is ^1, ^0 is X itself)

A ref wins over an abbreviated id of the same text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from plait.errors import InvalidInput, NotFound
from plait.model.ids import SHORTEST_PREFIX, CommitId, abbreviate
from plait.model.refs import HEAD, parse_ref_name

LARGEST_STEP = 10_000_000
MOST_STEPS = 100
"""Each step is a look-up: a revision of thousands of ^ would keep a registry busy."""

_STEPS = re.compile(r"(?:[~^][0-9]*)*")
_STEP = re.compile(r"([~^])(0*)([0-9]*)")
_PREFIX = re.compile(rf"[0-9a-f]{{{SHORTEST_PREFIX},64}}")


class StepKind(StrEnum):
    """A move from a commit into its history."""

    ANCESTOR = "~"  # N times the first parent
    PARENT = "^"  # the N-th parent


@dataclass(frozen=True, slots=True)
class Step:
    """One move, as `~2` or `^1`."""

    kind: StepKind
    count: int


@dataclass(frozen=True, slots=True)
class Revision:
    """A parsed revision: where to start, then the moves in order."""

    anchor: str
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> Revision:
        """Parse what a person typed.

        Raises:
            InvalidInput: it has no such form.
        """
        cut = min((i for i in map(text.find, "~^") if i >= 0), default=len(text))
        anchor, tail = text[:cut], text[cut:]
        if not anchor or _STEPS.fullmatch(tail) is None:
            raise InvalidInput(
                "invalid-revision",
                f"{text!r:.200} is not a revision: expected a branch, a tag or a commit id, then "
                "~N or ^N.",
            )
        steps = tuple(
            # Nine digits are over the limit already; cut, since int() refuses thousands of them.
            Step(StepKind(kind), int(digits[:9] or (0 if zeros else 1)))
            for kind, zeros, digits in _STEP.findall(tail)
        )
        if len(steps) > MOST_STEPS or any(step.count > LARGEST_STEP for step in steps):
            raise InvalidInput("invalid-revision", f"{text!r:.200} goes back too far.")
        if anchor == "@":
            anchor = HEAD
        if anchor != HEAD and _PREFIX.fullmatch(anchor) is None:
            parse_ref_name(anchor)
        return cls(anchor, steps)


class RevisionSource(Protocol):
    """What resolving a revision needs to know about a repository."""

    def find_ref(self, name: str) -> CommitId | None:
        """Return where the branch or tag (or `HEAD`) points, or None."""

    def find_by_prefix(self, prefix: str) -> Sequence[CommitId]:
        """Return up to two commits whose ids begin with `prefix`."""

    def find_parents(self, commit: CommitId) -> tuple[CommitId, ...]:
        """Return the parents of a commit that is there."""

    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        """Return the ancestor that many first parents back, or None where history is shorter."""


def resolve_revision(text: str, source: RevisionSource) -> CommitId:
    """Return the commit that `text` names.

    Raises:
        InvalidInput: it is no revision, or an abbreviation of several commits.
        NotFound: nothing is there.
    """
    revision = Revision.parse(text)
    commit = _resolve_anchor(revision.anchor, source)
    for step in revision.steps:
        commit = _take(step, commit, source, text)
    return commit


def _resolve_anchor(anchor: str, source: RevisionSource) -> CommitId:
    target = source.find_ref(anchor)
    if target is not None:
        return target
    if _PREFIX.fullmatch(anchor):
        matches = source.find_by_prefix(anchor)
        if len(matches) > 1:
            raise InvalidInput(
                "revision-ambiguous", f"{anchor} begins several commit ids: give more digits."
            )
        if matches:
            return matches[0]
    raise NotFound(
        "revision-not-found",
        f"There is no branch, tag or commit {anchor!r} here: see `plait branch` and `plait tag`.",
        revision=anchor,
    )


def _take(step: Step, commit: CommitId, source: RevisionSource, text: str) -> CommitId:
    found: CommitId | None
    if step.kind is StepKind.ANCESTOR:
        found = source.find_ancestor(commit, step.count)
    elif step.count == 0:
        found = commit
    else:
        parents = source.find_parents(commit)
        found = parents[step.count - 1] if step.count <= len(parents) else None
    if found is None:
        raise NotFound(
            "revision-not-found",
            f"{text!r:.200} goes further back than history: {abbreviate(commit)} has no "
            f"{step.kind}{step.count}.",
            revision=text[:200],
        )
    return found
