"""The route of the feed of events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from plait import wire_events
from plait.errors import NotFound
from plait.model.address import RepositoryName, parse_namespace
from plait.wire_events import LONGEST_WAIT_S
from plait_registry.api.errors import describe
from plait_registry.api.requests import Limit, caller_of, registry_of
from plait_registry.domain.access import Readable
from plait_registry.domain.events import (
    LATEST,
    START,
    Event,
    EventQuery,
    parse_cursor,
    parse_kind,
    write_cursor,
)

router = APIRouter(tags=["events"])


class EventFilters(BaseModel):
    """Which events to list; all filters must match."""

    after: str | None = Field(
        None, description="The `next` of the page before; `latest`: begin with what comes next."
    )
    namespace: str | None = Field(None, description="Only of repositories of this namespace.")
    repository: str | None = Field(None, description="Only of this repository, as `team/sql`.")
    kind: list[str] = Field([], description="Only of these kinds, as `push`.")
    wait: float = Field(
        0, ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for an event where there is none."
    )
    limit: Limit = 50


@router.get("/events", responses=describe(NotFound))
def list_events(
    request: Request, filters: Annotated[EventFilters, Query()]
) -> wire_events.EventPage:
    """List events of the repositories that the caller may read, oldest first.

    `next` is never null: send it as `after` to go on, now or later. No event is passed over.
    """
    read = registry_of(request).events.read
    if filters.after == LATEST:
        page = read.latest()
    else:
        page = read(
            EventQuery(
                readable=Readable.by(caller_of(request)),
                after=START if filters.after is None else parse_cursor(filters.after),
                namespace=None if filters.namespace is None else parse_namespace(filters.namespace),
                repository=_parse_repository(filters.repository),
                kinds=frozenset(parse_kind(kind) for kind in filters.kind),
                limit=filters.limit,
            ),
            wait_s=filters.wait,
        )
    return wire_events.EventPage(
        [show_event(event) for event in page.events], write_cursor(page.next)
    )


def _parse_repository(text: str | None) -> RepositoryName | None:
    return None if text is None else RepositoryName.parse(text)


def show_event(event: Event) -> wire_events.Event:
    """Return an event as it goes over the wire."""
    return wire_events.Event(
        id=write_cursor(event.id),
        kind=event.kind,
        repository=str(event.repository),
        actor=event.actor,
        at=event.at,
        details=dict(event.details),
    )
