"""Reading the feed of events, and waiting for the next one."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plait.wire_events import LONGEST_WAIT_S
from plait_registry.domain.events import Event, EventId, EventQuery, events_expired
from plait_registry.domain.ports import Database

LOOK_EVERY_S = 0.5
"""How often the database is asked whether there is anything new while somebody waits."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """A part of the feed."""

    events: Sequence[Event]
    next: EventId
    """Go on after this one; what was given where nothing was found, so that nothing is told of
    events that the caller may not see."""


class ReadEvents:
    """Reads the feed; a waiting caller holds no transaction."""

    def __init__(self, database: Database, most_waiting: int) -> None:
        """Take also how many callers may wait at a time: each holds a thread that answers."""
        self._database = database
        self._waiting = threading.BoundedSemaphore(most_waiting)
        self._stopping = threading.Event()

    def __call__(self, query: EventQuery, *, wait_s: float = 0) -> EventPage:
        """Return the events that match, oldest first, at once where there are some.

        Otherwise wait for one, up to `wait_s` seconds; answer empty at once where too many callers
        wait already.

        Raises:
            NotFound: `events-expired`, some events after `query.after` were removed.
        """
        found, newest = self._look(query, query)
        if not found and wait_s > 0 and self._waiting.acquire(blocking=False):
            try:
                found = self._wait(query, newest, min(wait_s, LONGEST_WAIT_S))
            finally:
                self._waiting.release()
        return EventPage(found, found[-1].id if found else query.after)

    def latest(self) -> EventPage:
        """Return the end of the feed: what comes after it is what happens from now on."""
        with self._database.read() as records:
            return EventPage((), records.events.newest())

    def stop(self) -> None:
        """Answer all who wait, and let nobody wait any more: the program is about to end."""
        self._stopping.set()

    def _wait(self, query: EventQuery, seen: EventId, wait_s: float) -> Sequence[Event]:
        deadline = time.monotonic() + wait_s
        found: Sequence[Event] = ()
        while not found and (left := deadline - time.monotonic()) > 0:
            if self._stopping.wait(min(left, LOOK_EVERY_S)):
                break
            # What was looked at already is not looked at again.
            found, seen = self._look(query, replace(query, after=seen))
        return found

    def _look(self, query: EventQuery, rest: EventQuery) -> tuple[Sequence[Event], EventId]:
        with self._database.read() as records:
            if query.after < records.events.pruned():
                raise events_expired()
            newest = records.events.newest()
            found = records.events.search(rest) if newest > rest.after else ()
        return found, max(newest, rest.after)
