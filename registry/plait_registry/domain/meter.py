"""What the registry counts about its own work, as a port.

- No repository, user, address or path is ever part of a figure: labels have few values, and who may
  read the figures learns how much goes on here, never what.
- Counting never fails and never waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request that was answered."""

    method: str
    route: str
    """The template of its path, as `/api/v1/repositories/{namespace}/{name}`."""
    status: int
    """499 where the client went away before the answer began."""
    seconds: float
    received: int
    """Bytes of the request's body."""
    sent: int
    """Bytes of the answer's body."""
    kind: str | None
    """Of the error that was answered, if any."""


class Meter(Protocol):
    """Counts, and shows what it counted."""

    def request_begun(self) -> None:
        """Count a request that is under way."""

    def request_ended(self, facts: RequestFacts, /) -> None:
        """Count a request that no longer is."""

    def push_completed(self, *, verified: int, stored: int) -> None:
        """Count a push that moved its ref, with the bytes it brought and those that were new."""

    def transaction_retried(self) -> None:
        """Count a transaction that lost against another one and runs again."""

    def render(self) -> bytes:
        """Return all figures in Prometheus' text format, of all workers of this host."""
