"""A reader of the feed misses nothing, although transactions of PostgreSQL end in any order."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from database_suite.databases import emptied_postgresql
from database_suite.rows import ALL, NOW
from plait.model.address import RepositoryName
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.events import START, Event, EventId, EventKind, EventQuery
from plait_registry.domain.ports import Records

NAME = RepositoryName("team", "sql")
LIMIT = 30.0


@pytest.fixture
def database() -> Iterator[SqlDatabase]:
    with closing(SqlDatabase(emptied_postgresql(), wait_s=LIMIT)) as opened:
        yield opened


def append(records: Records, word: str) -> None:
    records.events.append(Event(EventKind.PUSH, NAME, "ada", NOW, {"word": word}))


def read(database: SqlDatabase, after: EventId = START) -> list[Event]:
    with database.read() as records:
        return list(records.events.search(EventQuery(ALL, after=after, limit=10_000)))


def test_second_transaction_appends_only_after_the_first_one_ended(database: SqlDatabase) -> None:
    second_ended = threading.Event()

    def append_second() -> None:
        with database.write() as records:
            append(records, "second")
        second_ended.set()

    with database.write() as records:
        append(records, "first")
        thread = threading.Thread(target=append_second)
        thread.start()
        # It waits for this one, so that nobody can see its event without the first.
        assert not second_ended.wait(0.5)
        assert read(database) == []
    thread.join(LIMIT)
    assert second_ended.is_set()
    assert [event.details["word"] for event in read(database)] == ["first", "second"]


def test_transaction_that_fails_lets_the_next_one_append(database: SqlDatabase) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_after_append(database)
    with database.write() as records:
        append(records, "second")
    assert [event.details["word"] for event in read(database)] == ["second"]


def fail_after_append(database: SqlDatabase) -> None:
    with database.write() as records:
        append(records, "first")
        raise ZeroDivisionError


def test_reader_who_polls_during_many_writers_sees_every_event_once(database: SqlDatabase) -> None:
    writers, each = 6, 15

    def write(writer: int) -> None:
        for number in range(each):
            database.transact(lambda records, n=number: append(records, f"{writer}-{n}"))  # type: ignore[misc]

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    seen: list[str] = []
    cursor, deadline = START, time.monotonic() + LIMIT
    while len(seen) < writers * each and time.monotonic() < deadline:
        page = read(database, cursor)
        seen += [event.details["word"] for event in page]
        cursor = page[-1].id if page else cursor
    for thread in threads:
        thread.join(LIMIT)
    assert sorted(seen) == sorted(f"{w}-{n}" for w in range(writers) for n in range(each))
    for writer in range(writers):
        own = [word for word in seen if word.startswith(f"{writer}-")]
        assert own == [f"{writer}-{n}" for n in range(each)]
