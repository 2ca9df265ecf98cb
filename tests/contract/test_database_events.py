"""What every database keeps of events, and to whom it shows them."""

import pytest

from database_suite.rows import ALL, NOW, new_repository
from plait.model.address import RepositoryName
from plait_registry.domain.access import Access, Caller, Readable, Role, Scope
from plait_registry.domain.events import START, Event, EventId, EventKind, EventQuery
from plait_registry.domain.ports import Database
from plait_registry.domain.records import RepositoryId

OPEN = RepositoryName("team", "open")
CLOSED = RepositoryName("Team", "Closed")
OTHER = RepositoryName("lab", "other")
STRANGER = Readable.by(Caller("eve"))
MEMBER = Readable.by(Caller("ada", roles={"team": Role.READER}))


def event(
    name: RepositoryName = OPEN, kind: EventKind = EventKind.PUSH, *, at: str = NOW, **details: str
) -> Event:
    return Event(kind, name, "ada", at, details)


def insert(database: Database, name: RepositoryName, *, private: bool = False) -> RepositoryId:
    with database.write() as records:
        if records.namespaces.find(name.namespace.lower()) is None:
            records.namespaces.insert(name.namespace, NOW)
        new = new_repository(name)
        record = records.repositories.insert(new)
        records.repositories.update(record.id, description="", private=private)
        return record.id


def append(database: Database, *events: Event) -> None:
    for item in events:
        with database.write() as records:
            records.events.append(item)


def search(database: Database, readable: Readable = ALL, **wanted: object) -> list[Event]:
    with database.read() as records:
        return list(records.events.search(EventQuery(readable, **wanted)))  # type: ignore[arg-type]


def names(events: list[Event]) -> list[str]:
    return [item.repository.name for item in events]


def test_event_comes_back_as_it_was_written(database: Database) -> None:
    insert(database, CLOSED)
    append(database, event(CLOSED, ref="main", new="ab"))
    [found] = search(database)
    assert found == Event(
        EventKind.PUSH, CLOSED, "ada", NOW, {"ref": "main", "new": "ab"}, id=found.id
    )
    assert found.id > START


def test_feed_without_events_begins_at_the_start(database: Database) -> None:
    with database.read() as records:
        assert records.events.newest() == records.events.pruned() == START


def test_events_are_read_on_from_a_cursor_in_order(database: Database) -> None:
    insert(database, OPEN)
    append(database, *[event(word=str(number)) for number in range(5)])
    first = search(database, limit=2)
    rest = search(database, after=first[-1].id)
    assert [item.details["word"] for item in [*first, *rest]] == ["0", "1", "2", "3", "4"]
    assert search(database, after=rest[-1].id) == []
    with database.read() as records:
        assert records.events.newest() == rest[-1].id


def test_event_of_a_transaction_that_failed_is_not_there(database: Database) -> None:
    insert(database, OPEN)
    with pytest.raises(ZeroDivisionError):
        fail_after_append(database)
    assert search(database) == []


def fail_after_append(database: Database) -> None:
    with database.write() as records:
        records.events.append(event())
        raise ZeroDivisionError


def test_events_are_filtered_by_namespace_repository_and_kind(database: Database) -> None:
    for name in (OPEN, CLOSED, OTHER):
        insert(database, name)
    append(database, event(OPEN), event(CLOSED, EventKind.NOTE_ADDED), event(OTHER))
    assert names(search(database, namespace="TEAM")) == ["open", "Closed"]
    assert names(search(database, repository=RepositoryName("TEAM", "CLOSED"))) == ["Closed"]
    assert names(search(database, kinds=frozenset({EventKind.NOTE_ADDED}))) == ["Closed"]
    assert search(database, namespace="lab", kinds=frozenset({EventKind.NOTE_ADDED})) == []


def test_private_repositorys_events_are_for_members_only(database: Database) -> None:
    insert(database, OPEN)
    insert(database, CLOSED, private=True)
    append(database, event(CLOSED), event(OPEN), event(CLOSED))
    assert names(search(database, STRANGER)) == ["open"]
    assert names(search(database, MEMBER)) == ["Closed", "open", "Closed"]
    assert search(database, STRANGER, repository=CLOSED) == []


def test_page_of_a_stranger_is_full_although_others_events_lie_between(database: Database) -> None:
    insert(database, OPEN)
    insert(database, CLOSED, private=True)
    for _ in range(3):
        append(database, event(CLOSED), event(CLOSED), event(OPEN))
    assert names(search(database, STRANGER, limit=3)) == ["open"] * 3


def test_scopes_of_a_token_bound_what_is_shown(database: Database) -> None:
    for name in (OPEN, CLOSED, OTHER):
        insert(database, name)
    append(database, event(OPEN), event(CLOSED), event(OTHER))

    def shown(*targets: str) -> list[str]:
        scopes = tuple(Scope(target, Access.READ) for target in targets)
        return names(search(database, Readable.by(Caller("ci", is_admin=True, scopes=scopes))))

    assert shown("team/closed") == ["Closed"]
    assert shown("team", "lab/other") == ["open", "Closed", "other"]
    assert shown("*") == ["open", "Closed", "other"]
    assert shown() == []


def test_what_a_repository_shows_follows_its_privacy(database: Database) -> None:
    key = insert(database, OPEN, private=True)
    append(database, event(OPEN))
    assert search(database, STRANGER) == []
    with database.write() as records:
        records.repositories.update(key, description="", private=False)
    assert names(search(database, STRANGER)) == ["open"]


def test_events_before_a_deletion_stay_with_the_namespace(database: Database) -> None:
    key = insert(database, OPEN)
    append(database, event(OPEN))
    with database.write() as records:
        records.repositories.delete(key)
        records.events.append(event(OPEN, EventKind.REPOSITORY_DELETED))
        records.events.seal(OPEN)
    assert search(database, STRANGER) == []
    assert len(search(database, MEMBER)) == 2
    insert(database, OPEN)
    append(database, event(OPEN, word="anew"))
    assert [item.details for item in search(database, STRANGER)] == [{"word": "anew"}]


def test_events_of_a_deleted_namespace_are_gone(database: Database) -> None:
    insert(database, OPEN)
    insert(database, OTHER)
    append(database, event(OPEN), event(OTHER))
    with database.write() as records:
        records.events.forget_namespace("team")
    assert names(search(database)) == ["other"]


def test_old_events_are_pruned_and_it_is_known_up_to_where(database: Database) -> None:
    insert(database, OPEN)
    times = ["2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z", "2026-11-01T00:00:00Z"]
    append(database, *[event(at=time) for time in times])
    second = search(database)[1].id
    with database.write() as records:
        assert records.events.prune("2026-10-15T00:00:00Z") == 2
        assert records.events.prune("2026-10-15T00:00:00Z") == 0
    assert [item.at for item in search(database)] == times[2:]
    with database.read() as records:
        assert records.events.pruned() == second


def test_ids_go_on_after_all_events_were_pruned(database: Database) -> None:
    insert(database, OPEN)
    append(database, event(), event())
    last = search(database)[-1].id
    with database.write() as records:
        assert records.events.prune("2027-01-01T00:00:00Z") == 2
        assert records.events.newest() == last
    append(database, event())
    [found] = search(database)
    assert found.id > last


def test_nothing_is_pruned_from_an_empty_feed(database: Database) -> None:
    with database.write() as records:
        assert records.events.prune(NOW) == 0
        assert records.events.pruned() == EventId(0)
