"""The HTTP API's shapes of events and webhooks; see `plait.wire`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plait.wire import about

LONGEST_WAIT_S = 30
"""How long the registry holds a request for events that has none to answer with."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a repository."""

    id: str = about("Its place in the feed, which can be sent as `after`.")
    kind: str = about("What happened, as `push`; see docs/events.md.")
    repository: str = about("As `team/sql`.")
    actor: str = about("Who did it.")
    at: str = about("UTC, as 2026-11-24T06:07:00Z.")
    details: dict[str, Any] = about("The facts, by name; which ones depends on the kind.")


@dataclass(frozen=True, slots=True)
class EventPage:
    """A part of the feed."""

    events: list[Event] = about("Oldest first.")
    next: str = about("Send this as `after` to go on, now or later.")


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A wish for a webhook."""

    target: str = about("A namespace, or a repository as `team/sql`.")
    url: str = about("Where events are posted.")
    kinds: list[str] = about("Only these kinds of events; none: all.", default_factory=list)


@dataclass(frozen=True, slots=True)
class WebhookUpdate:
    """What shall change about a webhook; null leaves something as it is."""

    url: str | None = about("Where events are posted.", default=None)
    kinds: list[str] | None = about("Only these kinds of events; none: all.", default=None)
    active: bool | None = about("Whether it is sent anything.", default=None)


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that hears of the events of a namespace or of one repository."""

    id: str = about("The webhook's id.")
    target: str = about("A namespace, or a repository as `team/sql`.")
    url: str = about("Where events are posted.")
    kinds: list[str] = about("Only these kinds of events; none: all.")
    active: bool = about("Whether it is sent anything.")
    failing: bool = about("Whether the last attempts all failed.")
    failures: int = about("Attempts in a row that failed.")
    created_at: str = about("UTC.")
    created_by: str = about("Who made it.")


@dataclass(frozen=True, slots=True)
class CreatedWebhook:
    """A webhook that was just made."""

    webhook: Webhook = about("The webhook.")
    secret: str = about("Signs what is sent. It is never shown again.")


@dataclass(frozen=True, slots=True)
class WebhookList:
    """The webhooks of a namespace as a whole, or of one repository."""

    webhooks: list[Webhook] = about("Oldest first.")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook."""

    id: str = about("The same in every attempt, as `X-Plait-Delivery`.")
    event: Event = about("What is delivered.")
    state: str = about("`pending`, `delivered` or `dead`.")
    attempts: int = about("How often it was tried.")
    due_at: str | None = about("When it is tried next, at the earliest; null: never.")
    last_at: str | None = about("When it was tried last.")
    last_status: int | None = about("What the receiver answered; null: nothing.")
    last_error: str | None = about("Why the last attempt failed; null: it did not.")


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries of a webhook."""

    deliveries: list[Delivery] = about("Newest event first.")
    next: str | None = about("Send this as `cursor` for the next page; null on the last.")
