"""Webhooks and deliveries, in SQL."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, case, delete, func, insert, or_, select, update
from typing_extensions import override

from plait.model.address import RepositoryName
from plait_registry.adapters.sql.event_tables import deliveries, events, webhooks
from plait_registry.adapters.sql.tables import repositories
from plait_registry.domain.events import Event, EventId, EventKind
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.webhooks import (
    Attempt,
    DeliveryRow,
    DeliveryState,
    DeliveryTable,
    Lease,
    WebhookId,
    WebhookRecord,
    WebhookTable,
    missing_delivery,
    missing_webhook,
    write_delivery_id,
)

_PENDING = deliveries.c.state == DeliveryState.PENDING.value
_DELIVERY = select(
    deliveries, events.c.kind, events.c.repository, events.c.actor, events.c.at, events.c.details
).join(events, events.c.id == deliveries.c.event_id)
# For each active webhook, the event that is its turn.
_TURNS = (
    select(
        webhooks.c.id,
        webhooks.c.namespace_key,
        case((webhooks.c.failures > 0, 1), else_=0).label("failed"),
        select(func.min(deliveries.c.event_id))
        .where(deliveries.c.webhook_id == webhooks.c.id, _PENDING)
        .scalar_subquery()
        .label("event_id"),
    )
    .where(webhooks.c.active)
    .subquery()
)


class SqlWebhookTable(WebhookTable):
    """Webhooks in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, webhook: WebhookRecord) -> None:
        self._connection.execute(
            insert(webhooks).values(
                id=webhook.id,
                target=webhook.target,
                namespace_key=webhook.namespace,
                repository_id=webhook.repository,
                url=webhook.url,
                secret=webhook.secret,
                kinds=_write_kinds(webhook.kinds),
                active=webhook.active,
                created_at=webhook.created_at,
                created_by=webhook.created_by,
                failures=webhook.failures,
            )
        )

    @override
    def get(self, webhook: WebhookId) -> WebhookRecord:
        statement = select(webhooks).where(webhooks.c.id == webhook)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise missing_webhook(webhook)
        return _read_webhook(row)

    @override
    def list(self, namespace: str, repository: RepositoryId | None) -> Sequence[WebhookRecord]:
        is_own = (
            webhooks.c.repository_id.is_(None)
            if repository is None
            else webhooks.c.repository_id == repository
        )
        statement = (
            select(webhooks)
            .where(webhooks.c.namespace_key == namespace, is_own)
            .order_by(webhooks.c.created_at, webhooks.c.id)
        )
        return [_read_webhook(row) for row in self._connection.execute(statement)]

    @override
    def update(
        self, webhook: WebhookId, *, url: str, kinds: frozenset[EventKind], active: bool
    ) -> None:
        values = {"url": url, "kinds": _write_kinds(kinds), "active": active}
        self._connection.execute(update(webhooks).where(webhooks.c.id == webhook).values(values))

    @override
    def count_failures(self, webhook: WebhookId, failures: int) -> None:
        self._connection.execute(
            update(webhooks).where(webhooks.c.id == webhook).values(failures=failures)
        )

    @override
    def delete(self, webhook: WebhookId) -> None:
        self._connection.execute(delete(webhooks).where(webhooks.c.id == webhook))


class SqlDeliveryTable(DeliveryTable):
    """Deliveries in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def find_due(self, now: str) -> tuple[WebhookId, EventId] | None:
        busy = (
            select(webhooks.c.namespace_key)
            .join(deliveries, deliveries.c.webhook_id == webhooks.c.id)
            .where(deliveries.c.held_until > now)
        )
        statement = (
            select(deliveries.c.webhook_id, deliveries.c.event_id)
            .join(
                _TURNS,
                and_(
                    _TURNS.c.id == deliveries.c.webhook_id,
                    _TURNS.c.event_id == deliveries.c.event_id,
                ),
            )
            .where(deliveries.c.due_at <= now, _TURNS.c.namespace_key.not_in(busy))
            .order_by(_TURNS.c.failed, deliveries.c.due_at, deliveries.c.event_id)
            .limit(1)
        )
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else (WebhookId(row.webhook_id), EventId(row.event_id))

    @override
    def claim(self, webhook: WebhookId, event: EventId, lease: Lease) -> DeliveryRow | None:
        taken = self._connection.execute(
            update(deliveries)
            .where(_is(webhook, event), _PENDING, _is_free(lease.now))
            .where(deliveries.c.due_at <= lease.now)
            .values(holder=lease.holder, held_until=lease.until)
        )
        return self.get(webhook, event) if taken.rowcount else None

    @override
    def finish(self, delivery: DeliveryRow, holder: str) -> bool:
        last = delivery.last
        written = self._connection.execute(
            update(deliveries)
            .where(_is(delivery.webhook, delivery.event.id), deliveries.c.holder == holder)
            .values(
                state=delivery.state.value,
                attempts=delivery.attempts,
                due_at=delivery.due_at,
                holder=None,
                held_until=None,
                last_at=delivery.last_at,
                last_status=None if last is None else last.status,
                last_error=None if last is None else last.error,
            )
        )
        return bool(written.rowcount)

    @override
    def get(self, webhook: WebhookId, event: EventId) -> DeliveryRow:
        row = self._connection.execute(_DELIVERY.where(_is(webhook, event))).one_or_none()
        if row is None:
            raise missing_delivery(write_delivery_id(webhook, event))
        return _read_delivery(row)

    @override
    def search(
        self,
        webhook: WebhookId,
        *,
        state: DeliveryState | None = None,
        before: EventId | None = None,
        limit: int = 50,
    ) -> builtins.list[DeliveryRow]:
        statement = _DELIVERY.where(deliveries.c.webhook_id == webhook)
        if state is not None:
            statement = statement.where(deliveries.c.state == state.value)
        if before is not None:
            statement = statement.where(deliveries.c.event_id < before)
        ordered = statement.order_by(deliveries.c.event_id.desc()).limit(limit)
        return [_read_delivery(row) for row in self._connection.execute(ordered)]

    @override
    def revive(self, webhook: WebhookId, event: EventId, now: str) -> None:
        self.get(webhook, event)
        self._connection.execute(
            update(deliveries)
            .where(_is(webhook, event), _is_free(now))
            .values(state=DeliveryState.PENDING.value, attempts=0, due_at=now)
        )


def find_receivers(connection: Connection, event: Event) -> Sequence[WebhookId]:
    """Return the webhooks that an event is to be sent to."""
    own = select(repositories.c.id).where(repositories.c.key == event.repository.key)
    is_own = or_(
        webhooks.c.repository_id.is_(None), webhooks.c.repository_id == own.scalar_subquery()
    )
    statement = select(webhooks).where(webhooks.c.namespace_key == event.namespace, is_own)
    found = (_read_webhook(row) for row in connection.execute(statement))
    return [webhook.id for webhook in found if webhook.wants(event)]


def _is(webhook: WebhookId, event: EventId) -> Any:
    return and_(deliveries.c.webhook_id == webhook, deliveries.c.event_id == event)


def _is_free(now: str) -> Any:
    return or_(deliveries.c.held_until.is_(None), deliveries.c.held_until <= now)


def _write_kinds(kinds: frozenset[EventKind]) -> builtins.list[str]:
    return sorted(kind.value for kind in kinds)


def _read_webhook(row: Row[Any]) -> WebhookRecord:
    return WebhookRecord(
        id=WebhookId(row.id),
        target=row.target,
        namespace=row.namespace_key,
        repository=None if row.repository_id is None else RepositoryId(row.repository_id),
        url=row.url,
        secret=row.secret,
        kinds=frozenset(EventKind(kind) for kind in row.kinds),
        active=row.active,
        created_at=row.created_at,
        created_by=row.created_by,
        failures=row.failures,
    )


def _read_delivery(row: Row[Any]) -> DeliveryRow:
    return DeliveryRow(
        webhook=WebhookId(row.webhook_id),
        event=Event(
            kind=EventKind(row.kind),
            repository=RepositoryName.parse(row.repository),
            actor=row.actor,
            at=row.at,
            details=row.details,
            id=EventId(row.event_id),
        ),
        state=DeliveryState(row.state),
        attempts=row.attempts,
        due_at=row.due_at,
        last_at=row.last_at,
        last=None if row.last_at is None else Attempt(row.last_status, row.last_error),
    )
