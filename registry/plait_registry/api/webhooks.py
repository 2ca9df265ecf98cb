"""Routes of webhooks and their deliveries."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from plait import wire_events
from plait.errors import InvalidInput, NotFound, PermissionDenied
from plait_registry.api.errors import describe
from plait_registry.api.events import show_event
from plait_registry.api.requests import Cursor, Limit, caller_of, registry_of
from plait_registry.domain.events import EventKind, parse_kind
from plait_registry.domain.webhooks import (
    DeliveryRow,
    DeliveryState,
    WebhookId,
    WebhookRecord,
    parse_delivery_id,
)
from plait_registry.services.webhooks import WebhookWish

router = APIRouter(tags=["webhooks"])

Id = Annotated[str, Path(description="The webhook's id.")]
Target = Annotated[str, Query(description="A namespace, or a repository as `team/sql`.")]


class DeliveryFilters(BaseModel):
    """Which deliveries to list."""

    state: str | None = Field(None, description="Only `pending`, `delivered` or `dead` ones.")
    cursor: Cursor = None
    limit: Limit = 50


@router.get("/webhooks", responses=describe(NotFound, PermissionDenied))
def list_webhooks(request: Request, target: Target) -> wire_events.WebhookList:
    """List the webhooks of a namespace as a whole, or of one repository."""
    found = registry_of(request).events.list_webhooks(caller_of(request), target)
    return wire_events.WebhookList([_show(webhook) for webhook in found])


@router.post("/webhooks", status_code=201, responses=describe(NotFound, PermissionDenied))
def create_webhook(request: Request, wanted: wire_events.NewWebhook) -> wire_events.CreatedWebhook:
    """Make a webhook; its secret is in this answer and in none after it."""
    made = registry_of(request).events.create_webhook(
        caller_of(request), wanted.target, wanted.url, _parse_kinds(wanted.kinds)
    )
    return wire_events.CreatedWebhook(_show(made), made.secret)


@router.get("/webhooks/{webhook}", responses=describe(NotFound, PermissionDenied))
def get_webhook(request: Request, webhook: Id) -> wire_events.Webhook:
    """Return one webhook."""
    return _show(registry_of(request).events.get_webhook(caller_of(request), WebhookId(webhook)))


@router.patch("/webhooks/{webhook}", responses=describe(NotFound, PermissionDenied))
def update_webhook(
    request: Request, webhook: Id, wanted: wire_events.WebhookUpdate
) -> wire_events.Webhook:
    """Change where a webhook leads, what it takes, or whether it is active."""
    wish = WebhookWish(
        wanted.url, None if wanted.kinds is None else _parse_kinds(wanted.kinds), wanted.active
    )
    return _show(
        registry_of(request).events.update_webhook(caller_of(request), WebhookId(webhook), wish)
    )


@router.delete(
    "/webhooks/{webhook}", status_code=204, responses=describe(NotFound, PermissionDenied)
)
def delete_webhook(request: Request, webhook: Id) -> None:
    """Delete a webhook, with what it was still to be sent."""
    registry_of(request).events.delete_webhook(caller_of(request), WebhookId(webhook))


@router.get("/webhooks/{webhook}/deliveries", responses=describe(NotFound, PermissionDenied))
def list_deliveries(
    request: Request, webhook: Id, filters: Annotated[DeliveryFilters, Query()]
) -> wire_events.DeliveryPage:
    """List what became of the events that a webhook was to hear of, newest event first."""
    found = registry_of(request).events.list_deliveries(
        caller_of(request),
        WebhookId(webhook),
        state=None if filters.state is None else _parse_state(filters.state),
        before=None if filters.cursor is None else parse_delivery_id(filters.cursor)[1],
        # One more than is shown tells whether there is another page.
        limit=filters.limit + 1,
    )
    shown = list(found[: filters.limit])
    following = shown[-1].id if len(found) > len(shown) else None
    return wire_events.DeliveryPage([_show_delivery(row) for row in shown], following)


@router.post("/deliveries/{delivery}/redeliver", responses=describe(NotFound, PermissionDenied))
def redeliver(
    request: Request, delivery: Annotated[str, Path(description="The delivery's id.")]
) -> wire_events.Delivery:
    """Send a delivery anew, with as many attempts as the first time."""
    return _show_delivery(registry_of(request).events.redeliver(caller_of(request), delivery))


def _parse_kinds(kinds: list[str]) -> frozenset[EventKind]:
    return frozenset(parse_kind(kind) for kind in kinds)


def _parse_state(text: str) -> DeliveryState:
    try:
        return DeliveryState(text)
    except ValueError:
        raise InvalidInput(
            "invalid-input", f"A delivery is pending, delivered or dead, not {text!r:.40}."
        ) from None


def _show(webhook: WebhookRecord) -> wire_events.Webhook:
    return wire_events.Webhook(
        id=webhook.id,
        target=webhook.target,
        url=webhook.url,
        kinds=sorted(kind.value for kind in webhook.kinds),
        active=webhook.active,
        failing=webhook.is_failing,
        failures=webhook.failures,
        created_at=webhook.created_at,
        created_by=webhook.created_by,
    )


def _show_delivery(row: DeliveryRow) -> wire_events.Delivery:
    return wire_events.Delivery(
        id=row.id,
        event=show_event(row.event),
        state=row.state,
        attempts=row.attempts,
        due_at=row.due_at if row.state is DeliveryState.PENDING else None,
        last_at=row.last_at,
        last_status=None if row.last is None else row.last.status,
        last_error=None if row.last is None else row.last.error,
    )
