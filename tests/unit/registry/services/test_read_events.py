"""The feed: pages, cursors, and waiting for what comes."""

import threading
import time

import pytest

from database_suite.rows import ALL, NOW, make_repository
from plait.errors import NotFound
from plait.model.address import RepositoryName
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.domain.access import Caller, Readable
from plait_registry.domain.events import START, Event, EventId, EventKind, EventQuery
from plait_registry.services.read_events import EventPage, ReadEvents

OPEN, CLOSED = RepositoryName("team", "open"), RepositoryName("team", "closed")
MOST_WAITING = 3
STRANGER = Readable.by(Caller("eve"))


@pytest.fixture
def database() -> MemoryDatabase:
    database = MemoryDatabase()
    make_repository(database, "team/open")
    closed = make_repository(database, "team/closed")
    with database.write() as records:
        records.repositories.update(closed, description="", private=True)
    return database


def append(database: MemoryDatabase, name: RepositoryName = OPEN) -> EventId:
    with database.write() as records:
        records.events.append(Event(EventKind.PUSH, name, "ada", NOW, {}))
        return records.events.newest()


class Waiter(threading.Thread):
    """Somebody who waits for events."""

    def __init__(self, read: ReadEvents, query: EventQuery, wait_s: float = 30) -> None:
        super().__init__(daemon=True)
        self._read, self._query, self._wait_s = read, query, wait_s
        self.page: EventPage | None = None
        self.start()

    def run(self) -> None:
        self.page = self._read(self._query, wait_s=self._wait_s)


def test_pages_follow_each_other(database: MemoryDatabase) -> None:
    read, ids = ReadEvents(database, MOST_WAITING), [append(database) for _ in range(3)]
    first = read(EventQuery(ALL, limit=2))
    second = read(EventQuery(ALL, after=first.next, limit=2))
    assert [event.id for event in [*first.events, *second.events]] == ids
    assert read(EventQuery(ALL, after=second.next)) == EventPage((), second.next)


def test_cursor_of_a_stranger_does_not_move_for_events_they_may_not_see(
    database: MemoryDatabase,
) -> None:
    read, seen = ReadEvents(database, MOST_WAITING), append(database)
    append(database, CLOSED)
    assert read(EventQuery(STRANGER, after=seen), wait_s=0.1) == EventPage((), seen)


def test_end_of_the_feed_is_after_the_newest_event(database: MemoryDatabase) -> None:
    read = ReadEvents(database, MOST_WAITING)
    assert read.latest() == EventPage((), START)
    newest = append(database)
    assert read.latest() == EventPage((), newest)


def test_cursor_from_before_what_was_pruned_is_refused(database: MemoryDatabase) -> None:
    read, first, second = ReadEvents(database, MOST_WAITING), append(database), append(database)
    with database.write() as records:
        records.events.prune("2027-01-01T00:00:00Z")
    with pytest.raises(NotFound) as caught:
        read(EventQuery(ALL, after=first))
    assert caught.value.kind == "events-expired"
    assert read(EventQuery(ALL, after=second)).events == ()


def test_waiting_ends_with_the_event(database: MemoryDatabase) -> None:
    waiter = Waiter(ReadEvents(database, MOST_WAITING), EventQuery(STRANGER))
    append(database, CLOSED)
    waiter.join(0.8)
    assert waiter.is_alive()
    expected = append(database)
    waiter.join(20)
    assert waiter.page is not None
    assert [event.id for event in waiter.page.events] == [expected]


def test_waiting_ends_without_an_event_after_the_time(database: MemoryDatabase) -> None:
    begun = time.monotonic()
    assert ReadEvents(database, MOST_WAITING)(EventQuery(ALL), wait_s=0.2).events == ()
    assert 0.2 <= time.monotonic() - begun < 10


def test_waiting_ends_when_the_program_stops(database: MemoryDatabase) -> None:
    read = ReadEvents(database, MOST_WAITING)
    waiter = Waiter(read, EventQuery(ALL))
    read.stop()
    waiter.join(10)
    assert waiter.page == EventPage((), START)


def test_one_more_than_may_wait_is_answered_at_once(database: MemoryDatabase) -> None:
    read = ReadEvents(database, MOST_WAITING)
    waiters = [Waiter(read, EventQuery(ALL)) for _ in range(MOST_WAITING)]
    deadline = time.monotonic() + 10
    while read._waiting._value and time.monotonic() < deadline:
        time.sleep(0.01)
    begun = time.monotonic()
    assert read(EventQuery(ALL), wait_s=30).events == ()
    assert time.monotonic() - begun < 5
    read.stop()
    for waiter in waiters:
        waiter.join(10)


def test_event_in_the_feed_already_is_not_waited_for(database: MemoryDatabase) -> None:
    append(database)
    begun = time.monotonic()
    assert len(ReadEvents(database, MOST_WAITING)(EventQuery(ALL), wait_s=30).events) == 1
    assert time.monotonic() - begun < 5
