"""Reading a registry's events: page by page, or as they happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from plait import wire
from plait.transport import Transport
from plait.wire_events import LONGEST_WAIT_S, Event, EventPage

LATEST = "latest"
"""The cursor after the newest event, whichever that is."""
ANSWER_S = 30.0
"""How long the registry may take beyond the wait that it was asked for."""
SHORTEST_ROUND_S = 1.0
"""A busy registry answers at once instead of waiting: it is not asked more often than this."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to read; all that is given must match."""

    namespace: str | None = None
    repository: str | None = None
    kinds: Sequence[str] = ()


def read_page(
    transport: Transport,
    events: EventFilter,
    *,
    after: str | None = None,
    limit: int | None = None,
    wait_s: int = 0,
) -> EventPage:
    """Return the events after a cursor, or from the oldest one that is kept.

    Raises:
        NotFound: `events-expired`, some after the cursor are no longer kept.
    """
    answer = transport.call(
        "GET",
        f"{wire.API_PREFIX}/events",
        query={
            "after": after,
            "namespace": events.namespace,
            "repository": events.repository,
            "kind": list(events.kinds),
            "limit": limit,
            "wait": wait_s or None,
        },
        patience=wait_s + ANSWER_S,
    )
    return wire.decode(EventPage, answer)


def read_events(
    transport: Transport, events: EventFilter, *, after: str | None = None
) -> Iterator[Event]:
    """Yield the events that are there, oldest first."""
    page = read_page(transport, events, after=after)
    while page.events:
        yield from page.events
        page = read_page(transport, events, after=page.next)


def follow_events(
    transport: Transport,
    events: EventFilter,
    *,
    after: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Yield the events after a cursor, or from now on, and then each one as it happens, for ever.

    Who keeps the `id` of the last event that was dealt with, and gives it as `after` the next time,
    misses none.
    """
    cursor = after if after is not None else read_page(transport, events, after=LATEST).next
    while True:
        begun = time.monotonic()
        page = read_page(transport, events, after=cursor, wait_s=LONGEST_WAIT_S)
        yield from page.events
        cursor = page.next
        if not page.events:
            sleep(max(0.0, SHORTEST_ROUND_S - (time.monotonic() - begun)))
