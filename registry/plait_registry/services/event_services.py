"""All that concerns events and webhooks, put together."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from plait_registry.domain.ports import Clock, Database
from plait_registry.domain.webhooks import Backoff, WebhookSender
from plait_registry.services.deliver_events import DeliverEvents, PruneEvents
from plait_registry.services.read_events import ReadEvents
from plait_registry.services.webhooks import (
    CreateWebhook,
    DeleteWebhook,
    GetWebhook,
    ListDeliveries,
    ListWebhooks,
    Redeliver,
    UpdateWebhook,
)


@dataclass(frozen=True, slots=True)
class EventOptions:
    """What an operator may choose."""

    allow_private: bool = False
    """Webhooks may lead to private addresses, and without TLS."""
    backoff: Backoff = field(default_factory=Backoff)
    keep_days: int = 30
    most_waiting: int = 8
    """Callers that wait for events at a time."""


@dataclass(frozen=True, slots=True)
class EventServices:
    """The services of events and webhooks, ready to be called."""

    read: ReadEvents
    create_webhook: CreateWebhook
    list_webhooks: ListWebhooks
    get_webhook: GetWebhook
    update_webhook: UpdateWebhook
    delete_webhook: DeleteWebhook
    list_deliveries: ListDeliveries
    redeliver: Redeliver
    deliver: DeliverEvents
    prune: PruneEvents


def build_event_services(
    database: Database, clock: Clock, sender: WebhookSender, options: EventOptions
) -> EventServices:
    """Return the services over a database and a way out."""
    private = options.allow_private
    return EventServices(
        read=ReadEvents(database, options.most_waiting),
        create_webhook=CreateWebhook(database, clock, allow_private=private),
        list_webhooks=ListWebhooks(database),
        get_webhook=GetWebhook(database),
        update_webhook=UpdateWebhook(database, clock, allow_private=private),
        delete_webhook=DeleteWebhook(database, clock),
        list_deliveries=ListDeliveries(database),
        redeliver=Redeliver(database, clock),
        deliver=DeliverEvents(database, sender, clock, options.backoff, random.random),
        prune=PruneEvents(database, clock, options.keep_days),
    )
