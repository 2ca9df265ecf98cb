"""Events, webhooks and deliveries in memory."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from plait.model.address import RepositoryName
from plait_registry.adapters.memory.state import MemoryTable, verify_present
from plait_registry.domain.events import (
    START,
    Event,
    EventId,
    EventKind,
    EventQuery,
    EventTable,
)
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.webhooks import (
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


class MemoryEventTable(MemoryTable, EventTable):
    """Events in one transaction."""

    @override
    def append(self, event: Event) -> None:
        draft = self._draft
        added = replace(event, id=EventId(len(draft.event_ids) + 1))
        draft.event_ids[added.id] = None
        draft.events[added.id] = added
        repository = draft.repositories.get(event.repository.key)
        for webhook in draft.webhooks.values():
            is_near = webhook.namespace == event.namespace
            is_own = repository is not None and webhook.repository == repository.id
            if is_near and (webhook.repository is None or is_own) and webhook.wants(event):
                draft.deliveries[webhook.id, added.id] = DeliveryRow(
                    webhook.id, added, DeliveryState.PENDING, 0, event.at
                )

    @override
    def search(self, query: EventQuery) -> Sequence[Event]:
        found = [event for _, event in sorted(self._state.events.items())]
        return [event for event in found if self._matches(event, query)][: query.limit]

    @override
    def newest(self) -> EventId:
        return max(self._state.events, default=self.pruned())

    @override
    def pruned(self) -> EventId:
        return max(self._state.pruned_events, default=START)

    @override
    def seal(self, repository: RepositoryName) -> None:
        draft = self._draft
        for event in draft.events.values():
            if event.repository.key == repository.key:
                draft.sealed_events[event.id] = None

    @override
    def forget_namespace(self, key: str) -> None:
        self._remove({event.id for event in self._state.events.values() if event.namespace == key})

    @override
    def prune(self, before: str) -> int:
        young = [event.id for event in self._state.events.values() if event.at >= before]
        first_kept = min([*young, self.newest() + 1])
        old = {key for key in self._state.events if key < first_kept}
        if old:
            self._draft.pruned_events[max(old)] = None
            self._remove(old)
        return len(old)

    def _remove(self, events: set[EventId]) -> None:
        draft = self._draft
        draft.events = {key: event for key, event in draft.events.items() if key not in events}
        draft.deliveries = {
            key: row for key, row in draft.deliveries.items() if key[1] not in events
        }

    def _matches(self, event: Event, query: EventQuery) -> bool:
        repository = self._state.repositories.get(event.repository.key)
        is_sealed = event.id in self._state.sealed_events
        is_private = repository is None or repository.private or is_sealed
        return (
            event.id > query.after
            and query.readable.includes(event.repository, private=is_private)
            and (query.namespace is None or event.namespace == query.namespace.lower())
            and (query.repository is None or event.repository.key == query.repository.key)
            and (not query.kinds or event.kind in query.kinds)
        )


class MemoryWebhookTable(MemoryTable, WebhookTable):
    """Webhooks in one transaction."""

    @override
    def insert(self, webhook: WebhookRecord) -> None:
        verify_present(webhook.namespace in self._draft.namespaces, "such namespace")
        self._draft.webhooks[webhook.id] = webhook

    @override
    def get(self, webhook: WebhookId) -> WebhookRecord:
        if webhook not in self._state.webhooks:
            raise missing_webhook(webhook)
        return self._state.webhooks[webhook]

    @override
    def list(self, namespace: str, repository: RepositoryId | None) -> Sequence[WebhookRecord]:
        found = [
            webhook
            for webhook in self._state.webhooks.values()
            if webhook.namespace == namespace and webhook.repository == repository
        ]
        return sorted(found, key=lambda webhook: (webhook.created_at, webhook.id))

    @override
    def update(
        self, webhook: WebhookId, *, url: str, kinds: frozenset[EventKind], active: bool
    ) -> None:
        changed = replace(self.get(webhook), url=url, kinds=kinds, active=active)
        self._draft.webhooks[webhook] = changed

    @override
    def count_failures(self, webhook: WebhookId, failures: int) -> None:
        if webhook in self._draft.webhooks:
            self._draft.webhooks[webhook] = replace(self.get(webhook), failures=failures)

    @override
    def delete(self, webhook: WebhookId) -> None:
        self._draft.drop_webhooks(lambda record: record.id == webhook)


class MemoryDeliveryTable(MemoryTable, DeliveryTable):
    """Deliveries in one transaction."""

    @override
    def find_due(self, now: str) -> tuple[WebhookId, EventId] | None:
        hooks = self._state.webhooks
        busy = {
            hooks[webhook].namespace
            for (webhook, _), (_, until) in self._state.leases.items()
            if until > now
        }
        turns = [min(rows, key=lambda row: row.event.id) for rows in self._pending().values()]
        due = [
            (hooks[row.webhook].failures > 0, row.due_at, row.event.id, row.webhook)
            for row in turns
            if row.due_at <= now and hooks[row.webhook].namespace not in busy
        ]
        first = min(due, default=None)
        return None if first is None else (first[3], first[2])

    @override
    def claim(self, webhook: WebhookId, event: EventId, lease: Lease) -> DeliveryRow | None:
        row = self._state.deliveries.get((webhook, event))
        if row is None or row.state is not DeliveryState.PENDING or row.due_at > lease.now:
            return None
        if not self._is_free(row, lease.now):
            return None
        self._draft.leases[webhook, event] = (lease.holder, lease.until)
        return row

    @override
    def finish(self, delivery: DeliveryRow, holder: str) -> bool:
        key = delivery.webhook, delivery.event.id
        draft = self._draft
        if key not in draft.deliveries or draft.leases.get(key, ("", ""))[0] != holder:
            return False
        draft.deliveries[key] = delivery
        del draft.leases[key]
        return True

    @override
    def get(self, webhook: WebhookId, event: EventId) -> DeliveryRow:
        if (webhook, event) not in self._state.deliveries:
            raise missing_delivery(write_delivery_id(webhook, event))
        return self._state.deliveries[webhook, event]

    @override
    def search(
        self,
        webhook: WebhookId,
        *,
        state: DeliveryState | None = None,
        before: EventId | None = None,
        limit: int = 50,
    ) -> builtins.list[DeliveryRow]:
        found = [
            row
            for row in self._state.deliveries.values()
            if row.webhook == webhook
            and (state is None or row.state is state)
            and (before is None or row.event.id < before)
        ]
        return sorted(found, key=lambda row: -row.event.id)[:limit]

    @override
    def revive(self, webhook: WebhookId, event: EventId, now: str) -> None:
        row = self.get(webhook, event)
        if self._is_free(row, now):
            self._draft.deliveries[webhook, event] = replace(
                row, state=DeliveryState.PENDING, attempts=0, due_at=now
            )

    def _pending(self) -> dict[WebhookId, builtins.list[DeliveryRow]]:
        pending: dict[WebhookId, builtins.list[DeliveryRow]] = {}
        for row in self._state.deliveries.values():
            if row.state is DeliveryState.PENDING and self._state.webhooks[row.webhook].active:
                pending.setdefault(row.webhook, []).append(row)
        return pending

    def _is_free(self, row: DeliveryRow, now: str) -> bool:
        held = self._state.leases.get((row.webhook, row.event.id))
        return held is None or held[1] <= now
