"""Making, showing, changing and deleting webhooks, and looking after their deliveries.

Who may: maintainers of the namespace or repository. For all others who may see it, that is refused;
for whoever may not, a webhook is missing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plait.errors import InvalidInput
from plait.model.address import RepositoryName, parse_namespace
from plait_registry.domain.access import Caller, Right, verify_right
from plait_registry.domain.account_errors import missing_namespace
from plait_registry.domain.change import Action, Change
from plait_registry.domain.events import EventId, EventKind
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.webhook_address import parse_url
from plait_registry.domain.webhooks import (
    DeliveryRow,
    DeliveryState,
    WebhookId,
    WebhookRecord,
    missing_webhook,
    parse_delivery_id,
)
from plait_registry.services.access import find_repository, verify_namespace_right
from plait_registry.services.changes import record_change

MOST_WEBHOOKS = 20
"""Of one namespace or repository: every event is sent to each of them."""


@dataclass(frozen=True, slots=True)
class WebhookWish:
    """What shall be so about a webhook; None leaves something as it is."""

    url: str | None = None
    kinds: frozenset[EventKind] | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    """What a webhook hears of."""

    name: str
    namespace: str
    repository: RepositoryId | None


class CreateWebhook:
    """Makes a webhook."""

    def __init__(self, database: Database, clock: Clock, *, allow_private: bool) -> None:
        self._database = database
        self._clock = clock
        self._allow_private = allow_private

    def __call__(
        self, caller: Caller, target: str, url: str, kinds: frozenset[EventKind]
    ) -> WebhookRecord:
        """Return the new webhook, with the secret that is never shown again.

        Raises:
            InvalidInput: `invalid-webhook-url`; there are too many.
            NotFound, PermissionDenied: as for the namespace or repository.
        """
        parse_url(url, allow_private=self._allow_private)
        now, key = self._clock.now(), WebhookId(f"wh{secrets.token_hex(8)}")
        secret = secrets.token_urlsafe(32)

        def create(records: Records) -> WebhookRecord:
            found = _find_target(records, caller, target)
            if len(records.webhooks.list(found.namespace, found.repository)) >= MOST_WEBHOOKS:
                raise InvalidInput(
                    "invalid-input",
                    f"{found.name} has {MOST_WEBHOOKS} webhooks and may not have more: delete one.",
                )
            webhook = WebhookRecord(
                id=key,
                target=found.name,
                namespace=found.namespace,
                repository=found.repository,
                url=url,
                secret=secret,
                kinds=kinds,
                active=True,
                created_at=now,
                created_by=caller.name,
            )
            records.webhooks.insert(webhook)
            record_change(records, caller, _describe(Action.WEBHOOK_CREATE, webhook), at=now)
            return webhook

        return self._database.transact(create)


class ListWebhooks:
    """Lists the webhooks of a namespace as a whole, or of one repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller, target: str) -> Sequence[WebhookRecord]:
        """Return them, oldest first."""
        with self._database.read() as records:
            found = _find_target(records, caller, target)
            return records.webhooks.list(found.namespace, found.repository)


class GetWebhook:
    """Finds one webhook."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller, webhook: WebhookId) -> WebhookRecord:
        """Return the webhook.

        Raises:
            NotFound: `webhook-not-found`.
        """
        with self._database.read() as records:
            return _find_webhook(records, caller, webhook)


class UpdateWebhook:
    """Changes where a webhook leads, what it takes, and whether it is active."""

    def __init__(self, database: Database, clock: Clock, *, allow_private: bool) -> None:
        self._database = database
        self._clock = clock
        self._allow_private = allow_private

    def __call__(self, caller: Caller, webhook: WebhookId, wish: WebhookWish) -> WebhookRecord:
        """Return the webhook as it is now; deliveries under way go where it leads now."""
        if wish.url is not None:
            parse_url(wish.url, allow_private=self._allow_private)
        now = self._clock.now()

        def update(records: Records) -> WebhookRecord:
            found = _find_webhook(records, caller, webhook)
            wanted = replace(
                found,
                url=found.url if wish.url is None else wish.url,
                kinds=found.kinds if wish.kinds is None else wish.kinds,
                active=found.active if wish.active is None else wish.active,
            )
            records.webhooks.update(
                webhook, url=wanted.url, kinds=wanted.kinds, active=wanted.active
            )
            record_change(records, caller, _describe(Action.WEBHOOK_UPDATE, wanted), at=now)
            return wanted

        return self._database.transact(update)


class DeleteWebhook:
    """Deletes a webhook, with what it was still to be sent."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, webhook: WebhookId) -> None:
        """Delete it."""
        now = self._clock.now()

        def delete(records: Records) -> None:
            found = _find_webhook(records, caller, webhook)
            records.webhooks.delete(webhook)
            record_change(records, caller, _describe(Action.WEBHOOK_DELETE, found), at=now)

        self._database.transact(delete)


class ListDeliveries:
    """Shows what became of the events that a webhook was to hear of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(
        self,
        caller: Caller,
        webhook: WebhookId,
        *,
        state: DeliveryState | None,
        before: EventId | None,
        limit: int,
    ) -> Sequence[DeliveryRow]:
        """Return deliveries, newest event first."""
        with self._database.read() as records:
            _find_webhook(records, caller, webhook)
            return records.deliveries.search(webhook, state=state, before=before, limit=limit)


class Redeliver:
    """Sends a delivery anew."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, delivery: str) -> DeliveryRow:
        """Return the delivery, due now with all attempts before it.

        Raises:
            NotFound: `webhook-not-found`, `delivery-not-found`.
        """
        webhook, event = parse_delivery_id(delivery)
        now = self._clock.now()

        def revive(records: Records) -> DeliveryRow:
            _find_webhook(records, caller, webhook)
            records.deliveries.revive(webhook, event, now)
            return records.deliveries.get(webhook, event)

        return self._database.transact(revive)


def _find_target(records: Records, caller: Caller, target: str) -> _Target:
    if "/" in target:
        found = find_repository(records, caller, RepositoryName.parse(target), Right.MAINTAIN)
        return _Target(str(found.name), found.name.namespace.lower(), found.id)
    namespace = parse_namespace(target)
    verify_namespace_right(caller, namespace, Right.MAINTAIN)
    record = records.namespaces.find(namespace.lower())
    if record is None:
        raise missing_namespace(namespace)
    return _Target(record.name, record.key, None)


def _find_webhook(records: Records, caller: Caller, webhook: WebhookId) -> WebhookRecord:
    found = records.webhooks.get(webhook)
    if found.repository is None:
        have = caller.right_in(found.namespace)
    else:
        repository = records.repositories.get(RepositoryName.parse(found.target))
        have = caller.right_to(repository.name, private=repository.private)
    if have < Right.READ:
        raise missing_webhook(webhook)
    verify_right(caller, have, Right.MAINTAIN, found.target)
    return found


def _describe(action: Action, webhook: WebhookRecord) -> Change:
    """Return what the audit log says: the webhook's host, since a path may hold a password."""
    return Change(
        action,
        webhook.target,
        webhook.namespace,
        {
            "webhook": webhook.id,
            "host": parse_url(webhook.url, allow_private=True).origin,
            "kinds": sorted(kind.value for kind in webhook.kinds),
            "active": webhook.active,
        },
    )
