"""Webhooks of a registry, and checking what they send."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from plait import wire
from plait.paging import read_pages
from plait.transport import Transport
from plait.wire_events import (
    CreatedWebhook,
    Delivery,
    DeliveryPage,
    NewWebhook,
    Webhook,
    WebhookList,
    WebhookUpdate,
)

_PATH = f"{wire.API_PREFIX}/webhooks"


class Webhooks:
    """The webhooks that the caller may look after: a maintainer's task."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, target: str, url: str, *, kinds: Sequence[str] = ()) -> CreatedWebhook:
        """Make a webhook of a namespace, or of a repository as `team/sql`; no kinds: all.

        Its secret is in this answer and in none after it.

        Raises:
            InvalidInput: `invalid-webhook-url`.
        """
        wanted = wire.encode(NewWebhook(target, url, list(kinds)))
        return wire.decode(CreatedWebhook, self._transport.call("POST", _PATH, body=wanted))

    def list(self, target: str) -> Sequence[Webhook]:
        """Return the webhooks of a namespace as a whole, or of a repository, oldest first."""
        answer = self._transport.call("GET", _PATH, query={"target": target})
        return wire.decode(WebhookList, answer).webhooks

    def get(self, webhook: str) -> Webhook:
        """Return one webhook.

        Raises:
            NotFound: `webhook-not-found`.
        """
        return wire.decode(Webhook, self._call("GET", webhook))

    def update(
        self,
        webhook: str,
        *,
        url: str | None = None,
        kinds: Sequence[str] | None = None,
        active: bool | None = None,
    ) -> Webhook:
        """Return the changed webhook; None leaves something as it is."""
        wanted = WebhookUpdate(url, None if kinds is None else [*kinds], active)
        return wire.decode(Webhook, self._call("PATCH", webhook, body=wire.encode(wanted)))

    def delete(self, webhook: str) -> None:
        """Delete a webhook, with what it was still to be sent."""
        self._call("DELETE", webhook)

    def deliveries(self, webhook: str, *, state: str | None = None) -> Iterator[Delivery]:
        """Yield what became of each event, newest first; `state` as `dead`."""

        def ask(cursor: str | None) -> DeliveryPage:
            query = {"state": state, "cursor": cursor}
            answer = self._call("GET", webhook, tail="/deliveries", query=query)
            return wire.decode(DeliveryPage, answer)

        for page in read_pages(ask):
            yield from page.deliveries

    def redeliver(self, delivery: str) -> Delivery:
        """Have a delivery sent anew, with as many attempts as the first time."""
        path = f"{wire.API_PREFIX}/deliveries/{quote(delivery, safe='')}/redeliver"
        return wire.decode(Delivery, self._transport.call("POST", path))

    def _call(self, method: str, webhook: str, *, tail: str = "", **options: Any) -> Any:
        return self._transport.call(method, f"{_PATH}/{quote(webhook, safe='')}{tail}", **options)


def is_signed(secret: str, timestamp: str, body: bytes, signature: str) -> bool:
    """Tell whether a registry that knows the secret sent a body: what receivers ask first.

    `timestamp` and `signature` are the headers `X-Plait-Timestamp` and `X-Plait-Signature-256`.
    Refuse a timestamp that is some minutes old, too: it may be an old request that is replayed.
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    expected = f"sha256={digest.hexdigest()}"
    return hmac.compare_digest(expected.encode(), signature.encode())
