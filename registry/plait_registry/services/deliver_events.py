"""Sending events to webhooks, one delivery at a time.

1. Find what is due, in a read transaction, which keeps nobody waiting.
2. Take it: from here on, no other worker sends it until the lease runs out.
3. Send, with no transaction open.
4. Write down what came of it, if the lease is still ours.

A worker that dies after (2) leaves a lease that runs out, and the delivery is sent again; one that
dies between (3) and (4) has sent it once more than the receiver needed, under the same id.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from dataclasses import replace

from plait.errors import NotFound
from plait_registry.domain.moments import shift
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.webhooks import (
    Attempt,
    Backoff,
    DeliveryRow,
    DeliveryState,
    Lease,
    WebhookRecord,
    WebhookSender,
    sign,
    write_body,
)

LEASE_S = 60
"""Longer than an attempt of ten seconds, and than it takes to write down how it ended. Where a
worker died, nothing is sent for the namespace until then."""


class DeliverEvents:
    """Delivers what is due; any number of threads and processes may do so at once."""

    def __init__(
        self,
        database: Database,
        sender: WebhookSender,
        clock: Clock,
        backoff: Backoff,
        jitter: Callable[[], float],
    ) -> None:
        """Take also what returns random numbers from 0 to 1."""
        self._database = database
        self._sender = sender
        self._clock = clock
        self._backoff = backoff
        self._jitter = jitter

    def __call__(self) -> bool:
        """Make one attempt; return False where nothing is due."""
        now = self._clock.now()
        # (1) Find what is due.
        with self._database.read() as records:
            due = records.deliveries.find_due(now)
        if due is None:
            return False
        webhook, event = due
        lease = Lease(secrets.token_hex(16), now, add_seconds(now, LEASE_S))

        def claim(records: Records) -> tuple[DeliveryRow, WebhookRecord] | None:
            taken = records.deliveries.claim(webhook, event, lease)
            return None if taken is None else (taken, records.webhooks.get(webhook))

        # (2) Take it.
        claimed = self._database.transact(claim)
        if claimed is not None:
            delivery, receiver = claimed
            # (3) Send.
            attempt = self._send(delivery, receiver)
            # (4) Write down what came of it.
            self._record(delivery, attempt, lease.holder)
        return True

    def _send(self, delivery: DeliveryRow, webhook: WebhookRecord) -> Attempt:
        body = write_body(delivery.event)
        now = self._clock.now()
        timestamp = str(int(dt.datetime.fromisoformat(now).timestamp()))
        headers = {
            "Content-Type": "application/json",
            "X-Plait-Event": delivery.event.kind.value,
            "X-Plait-Delivery": delivery.id,
            "X-Plait-Timestamp": timestamp,
            "X-Plait-Signature-256": sign(webhook.secret, timestamp, body),
        }
        return self._sender.send(webhook.url, headers, body)

    def _record(self, delivery: DeliveryRow, attempt: Attempt, holder: str) -> None:
        now = self._clock.now()
        done = self._judge(delivery, attempt, now)

        def finish(records: Records) -> None:
            if not records.deliveries.finish(done, holder):
                return
            try:
                before = records.webhooks.get(delivery.webhook).failures
            except NotFound:  # deleted meanwhile
                return
            failures = 0 if attempt.error is None else before + 1
            if failures != before:
                records.webhooks.count_failures(delivery.webhook, failures)

        self._database.transact(finish)

    def _judge(self, delivery: DeliveryRow, attempt: Attempt, now: str) -> DeliveryRow:
        tried = replace(delivery, attempts=delivery.attempts + 1, last_at=now, last=attempt)
        if attempt.error is None:
            return replace(tried, state=DeliveryState.DELIVERED)
        if self._backoff.is_last(tried.attempts):
            return replace(tried, state=DeliveryState.DEAD)
        pause = self._backoff.pause_s(tried.attempts, self._jitter())
        return replace(tried, due_at=add_seconds(now, pause))


class PruneEvents:
    """Removes events, and deliveries that are done, after some days."""

    def __init__(self, database: Database, clock: Clock, days: int) -> None:
        self._database = database
        self._clock = clock
        self._days = days

    def __call__(self) -> int:
        """Return how many events were removed."""
        before = add_seconds(self._clock.now(), -self._days * 86_400)
        return self._database.transact(lambda records: records.events.prune(before))


def add_seconds(time: str, seconds: float) -> str:
    """Return a time, UTC to the second, so many seconds later, rounded."""
    return shift(time, dt.timedelta(seconds=round(seconds)))
