"""The bases that a registry holds: which commits are versions of which model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId
from plait_registry.domain.access import Readable


@dataclass(frozen=True, slots=True)
class BaseRow:
    """A commit that is a version of a base."""

    commit: CommitId
    name: str
    revision: str | None
    fingerprint: ObjectId


@dataclass(frozen=True, slots=True)
class HeldBase:
    """A version of a base in a repository that holds it."""

    repository: RepositoryName
    row: BaseRow
    time: str
    """Of the commit."""
    generation: int
    """Of the commit: the later one of two of the same second has the higher number."""


@dataclass(frozen=True, slots=True)
class BaseQuery:
    """Which bases to list; None means any."""

    readable: Readable
    fingerprint: ObjectId | None = None
    name: str | None = None
    """The model's name, exactly."""
    after: tuple[str, CommitId] | None = None
    """Only those that sort after this `RepositoryName.key` and commit."""
    limit: int = 50


class BaseTable(Protocol):
    """Which commits are versions of bases."""

    def insert(self, rows: Sequence[BaseRow]) -> None:
        """Say what commits are that are there; what was said before stays."""

    def search(self, query: BaseQuery) -> Sequence[HeldBase]:
        """Return the matches in readable repositories, by the repositories' keys and commits.

        A commit that no repository holds any more is none, though garbage collection may not have
        removed it yet.
        """
