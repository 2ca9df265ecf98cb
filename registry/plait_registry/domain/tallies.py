"""How much there is of what is limited; the limits are in `plait_registry.services.limits`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from plait.model.ids import CommitId
from plait_registry.domain.accounts import UserId
from plait_registry.domain.records import PushId, RepositoryId


@dataclass(frozen=True, slots=True)
class NoteTally:
    """The notes of one commit."""

    count: int
    size: int
    """Bytes, as `measure_body` counts them."""


class TallyTable(Protocol):
    """Counts, each in one query that reads no more than what it counts."""

    def count_repositories(self, namespace: str) -> int:
        """Return the number of repositories of a namespace, by key."""

    def count_refs(self, repository: RepositoryId) -> int:
        """Return the number of branches and tags."""

    def count_open_pushes(self, repository: RepositoryId) -> int:
        """Return the number of pushes that were begun and not completed."""

    def count_open_jobs(self, repository: RepositoryId) -> int:
        """Return the number of a repository's jobs that have not ended."""

    def count_open_jobs_of(self, user: UserId | None) -> int:
        """Return the number of jobs that a user asked for, or with None the folder's token."""

    def measure_staged(self, push: PushId) -> int:
        """Return the bytes of the commits and manifests that a push has staged."""

    def measure_notes(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, NoteTally]:
        """Return how many notes there are, and how large; commits without any are left out."""


def measure_body(body: Mapping[str, Any]) -> int:
    """Return the bytes of a note's body as databases keep it: JSON in ASCII."""
    return len(json.dumps(dict(body)))
