"""Webhooks: where events are sent, by which rules, and the tables that remember it.

- At least once: a delivery whose end was not recorded is sent again, under the same id.
- In order for each webhook: an event is sent only after all earlier ones were accepted, or given up
  (dead), or sent anew by hand.
- A delivery is leased while it is sent, so that two workers never send it at the same time; a lease
  that ran out means that its worker died.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType, Protocol

from plait.errors import InvalidInput, NotFound
from plait.model import canonical
from plait_registry.domain.events import Event, EventId, EventKind
from plait_registry.domain.records import RepositoryId

WebhookId = NewType("WebhookId", str)

FAILING_AFTER = 3
"""Failed attempts in a row from which on a webhook counts as failing."""
LONGEST_PAUSE_S = 43_200
"""Half a day: a receiver that is repaired in the morning hears of it the same day."""


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """An address that hears of the events of a namespace or of one repository."""

    id: WebhookId
    target: str
    """The namespace, or `namespace/name`."""
    namespace: str
    """The namespace's key."""
    repository: RepositoryId | None
    """None: all repositories of the namespace."""
    url: str
    secret: str = field(repr=False)
    """Signs; shown once, when the webhook is made."""
    kinds: frozenset[EventKind]
    """Empty: all."""
    active: bool
    created_at: str
    created_by: str
    failures: int = 0
    """Attempts in a row that failed."""

    @property
    def is_failing(self) -> bool:
        """Whether the receiver seems to be out of order."""
        return self.failures >= FAILING_AFTER

    def wants(self, event: Event) -> bool:
        """Tell whether an event of the webhook's own repositories is of a kind that it takes."""
        return self.active and (not self.kinds or event.kind in self.kinds)


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  # to be sent, for the first time or again
    DELIVERED = "delivered"  # the receiver answered with a status of 200 to 299
    DEAD = "dead"  # given up after the last attempt; can be sent anew by hand


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended."""

    status: int | None
    """What the receiver answered; None where it did not."""
    error: str | None
    """Why it does not count as delivered; None: it does."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One event on its way to one webhook."""

    webhook: WebhookId
    event: Event
    state: DeliveryState
    attempts: int
    due_at: str
    """Not to be sent before."""
    last_at: str | None = None
    last: Attempt | None = None

    @property
    def id(self) -> str:
        """The same for every attempt, so that receivers can tell a repetition."""
        return write_delivery_id(self.webhook, self.event.id)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send a delivery, for a while."""

    holder: str
    """Random: nobody else has it."""
    now: str
    until: str


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often a delivery is tried, and how long apart: by default 8 times within a day."""

    attempts: int = 8
    first_pause_s: float = 30.0
    factor: float = 4.0

    def is_last(self, attempts: int) -> bool:
        """Tell whether a delivery that was tried so often is given up."""
        return attempts >= self.attempts

    def pause_s(self, attempts: int, jitter: float) -> float:
        """Return the pause after that many attempts; `jitter` is a random number from 0 to 1.

        It spreads what failed together over half of the pause to one and a half of it.
        """
        pause = min(self.first_pause_s * self.factor ** (attempts - 1), LONGEST_PAUSE_S)
        return pause * (0.5 + jitter)


class WebhookTable(Protocol):
    """Webhooks by id."""

    def insert(self, webhook: WebhookRecord) -> None:
        """Add a webhook."""

    def get(self, webhook: WebhookId) -> WebhookRecord:
        """Return a webhook.

        Raises:
            NotFound: `webhook-not-found`.
        """

    def list(self, namespace: str, repository: RepositoryId | None) -> Sequence[WebhookRecord]:
        """Return those of a namespace as a whole, or of one repository, oldest first."""

    def update(
        self, webhook: WebhookId, *, url: str, kinds: frozenset[EventKind], active: bool
    ) -> None:
        """Write what can change about a webhook."""

    def count_failures(self, webhook: WebhookId, failures: int) -> None:
        """Remember how many attempts in a row failed; a webhook that is gone is fine."""

    def delete(self, webhook: WebhookId) -> None:
        """Remove a webhook with its deliveries."""


class DeliveryTable(Protocol):
    """What is to be sent, and what became of it."""

    def find_due(self, now: str) -> tuple[WebhookId, EventId] | None:
        """Return the delivery whose turn it is.

        Only the oldest pending one of an active webhook counts, and only while nothing is being
        sent for its namespace, so that one of them cannot keep all senders busy. Webhooks whose
        last attempt failed come after all others; else the one that is longest due comes first.
        """

    def claim(self, webhook: WebhookId, event: EventId, lease: Lease) -> DeliveryRow | None:
        """Take a delivery for sending; None where somebody was faster, or it is done or gone."""

    def finish(self, delivery: DeliveryRow, holder: str) -> bool:
        """Write how a delivery stands and give the lease back.

        Does nothing and returns False where the lease is another's by now.
        """

    def get(self, webhook: WebhookId, event: EventId) -> DeliveryRow:
        """Return a delivery.

        Raises:
            NotFound: `delivery-not-found`.
        """

    def search(
        self,
        webhook: WebhookId,
        *,
        state: DeliveryState | None = None,
        before: EventId | None = None,
        limit: int = 50,
    ) -> Sequence[DeliveryRow]:
        """Return a webhook's deliveries, newest event first."""

    def revive(self, webhook: WebhookId, event: EventId, now: str) -> None:
        """Make a delivery due, as if it had not been tried; one that is being sent stays.

        Raises:
            NotFound: `delivery-not-found`.
        """


class WebhookSender(Protocol):
    """The way out to receivers."""

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """POST once and return how it went; a receiver can make it fail, never raise."""


def write_body(event: Event) -> bytes:
    """Return what a delivery carries: the event's canonical JSON."""
    return canonical.dumps(event.to_json())


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature's header: HMAC-SHA256 over `timestamp.body`.

    The timestamp is signed along, so that a receiver can refuse an old request that is replayed.
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def write_delivery_id(webhook: WebhookId, event: EventId) -> str:
    """Return the id of a delivery."""
    return f"{webhook}-{event:x}"


def parse_delivery_id(text: str) -> tuple[WebhookId, EventId]:
    """Return the webhook and the event of a delivery's id.

    Raises:
        InvalidInput: `invalid-input`.
    """
    webhook, dash, event = text.rpartition("-")
    if not dash or not 0 < len(event) < 16 or not set(event) <= set("0123456789abcdef"):
        raise InvalidInput(
            "invalid-input",
            f"{text!r:.80} is no delivery's id: `plait webhook deliveries` shows them.",
        )
    return WebhookId(webhook), EventId(int(event, 16))


def missing_webhook(webhook: str) -> NotFound:
    """Return the error that there is no such webhook."""
    return NotFound(
        "webhook-not-found",
        f"There is no webhook {webhook!r:.80}: `plait webhook list` shows them.",
    )


def missing_delivery(delivery: str) -> NotFound:
    """Return the error that there is no such delivery."""
    return NotFound(
        "delivery-not-found",
        f"There is no delivery {delivery!r:.80}, or it is no longer kept: `plait webhook "
        "deliveries` shows those that are.",
    )
