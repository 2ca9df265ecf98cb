"""The port to a registry: JSON calls, and signed requests that carry the bytes of files.

Rules that hold for every adapter:

- A failure is raised as the class of `plait.errors` that the registry meant.
- The access token goes to the registry itself only, never with a signed request, and neither
  tokens nor signatures appear in an error.
- What can be repeated without harm is repeated after a lost connection or a busy answer: GET, PUT,
  and the calls that say so by `repeatable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from plait.model.address import RepositoryName
from plait.wire import API_PREFIX, SignedRequest

PIECE_SIZE = 1 << 20
"""Bytes. Larger pieces are no faster and cost memory in every thread."""

Query = Mapping[str, str | int | list[str] | None]
"""Parameters of a call; None leaves one out, a list repeats it."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a signed PUT sends."""

    size: int
    """Bytes."""
    open: Callable[[], Iterator[bytes | memoryview]]
    """Yields the bytes from the beginning; called again for each attempt."""


class Transport(Protocol):
    """A registry as the client reaches it; safe to use from several threads."""

    @property
    def url(self) -> str:
        """The registry's address, without a slash at the end."""

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        patience: float | None = None,
        repeatable: bool = False,
    ) -> Any:
        """Return the parsed JSON answer; None where the answer is empty.

        `path` begins with `/`; `body` is a JSON value; `patience` is how many seconds the answer
        may take, where it is more than usual.

        Raises:
            PlaitError: what the registry answered; Unavailable where it did not.
        """

    def send(self, request: SignedRequest, body: Body, *, headers: Mapping[str, str]) -> None:
        """Send `body` by a signed PUT.

        Raises:
            AlreadyExists: `object-exists`, the store has it.
            Integrity: `digest-mismatch`, the bytes are not what the request promised.
            PermissionDenied: `signed-url-expired` or `signed-url-invalid`: ask for a new one.
            Unavailable: no answer after several attempts.
        """

    def receive(self, request: SignedRequest, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the bytes of the object from `start` up to `stop`.

        A request that is signed for one range is sent with that, and yields what is asked of it.

        Each piece is overwritten by the next one. A connection that is lost in the middle is not
        taken up again here, since only the caller knows what it has done with the bytes.

        Raises:
            NotFound: `object-not-found`.
            PermissionDenied: as `send`.
            Unavailable: no answer, or it ended early.
        """

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""


def repository_path(repository: RepositoryName, tail: str = "") -> str:
    """Return the path of a repository's routes; `tail` begins with `/` and is quoted already."""
    return f"{API_PREFIX}/repositories/{repository.namespace}/{repository.name}{tail}"
