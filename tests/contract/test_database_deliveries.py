"""What every database remembers of webhooks, and of events on their way to them."""

from dataclasses import replace

import pytest

from database_suite.rows import NOW, new_repository
from plait.errors import Internal, NotFound
from plait.model.address import RepositoryName
from plait_registry.domain.events import Event, EventId, EventKind
from plait_registry.domain.ports import Database
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.webhooks import (
    Attempt,
    DeliveryRow,
    DeliveryState,
    Lease,
    WebhookId,
    WebhookRecord,
)

SQL = RepositoryName("team", "sql")
CHAT = RepositoryName("team", "chat")
LATER = "2026-11-24T06:08:00Z"
MUCH_LATER = "2026-11-24T06:10:00Z"
LEASE = Lease("me", NOW, LATER)
FAILED = Attempt(500, "The receiver answered with status 500.")
HOOK = WebhookId("wh1")


def insert_repository(database: Database, name: RepositoryName = SQL) -> RepositoryId:
    with database.write() as records:
        if records.namespaces.find(name.namespace) is None:
            records.namespaces.insert(name.namespace, NOW)
        return records.repositories.insert(new_repository(name)).id


def insert_webhook(
    database: Database,
    key: str = HOOK,
    repository: RepositoryId | None = None,
    *kinds: EventKind,
    active: bool = True,
    namespace: str = "team",
) -> WebhookRecord:
    webhook = WebhookRecord(
        id=WebhookId(key),
        target=namespace,
        namespace=namespace,
        repository=repository,
        url="https://ci.example.org/hook",
        secret="the secret",
        kinds=frozenset(kinds),
        active=active,
        created_at=NOW,
        created_by="ada",
    )
    with database.write() as records:
        records.webhooks.insert(webhook)
    return webhook


def append(
    database: Database, name: RepositoryName = SQL, kind: EventKind = EventKind.PUSH
) -> EventId:
    with database.write() as records:
        records.events.append(Event(kind, name, "ada", NOW, {"ref": "main"}))
        return records.events.newest()


def claim(database: Database, event: EventId, lease: Lease = LEASE, key: str = HOOK) -> DeliveryRow:
    with database.write() as records:
        row = records.deliveries.claim(WebhookId(key), event, lease)
    assert row is not None
    return row


def find_due(database: Database, now: str = NOW) -> tuple[WebhookId, EventId] | None:
    with database.read() as records:
        return records.deliveries.find_due(now)


def events_of(database: Database, key: str = HOOK) -> list[EventId]:
    with database.read() as records:
        return [row.event.id for row in records.deliveries.search(WebhookId(key))]


@pytest.fixture
def pending(database: Database) -> EventId:
    """An event on its way to the one webhook."""
    insert_repository(database)
    insert_webhook(database)
    return append(database)


def test_webhook_comes_back_as_it_was_written(database: Database) -> None:
    repository = insert_repository(database)
    webhook = insert_webhook(database, HOOK, repository, EventKind.PUSH, EventKind.NOTE_ADDED)
    with database.read() as records:
        assert records.webhooks.get(HOOK) == webhook


def test_secret_of_a_webhook_is_not_in_what_is_printed_of_it(database: Database) -> None:
    insert_repository(database)
    assert "the secret" not in repr(insert_webhook(database))


def test_missing_webhook_is_not_found(database: Database) -> None:
    with database.read() as records, pytest.raises(NotFound) as caught:
        records.webhooks.get(HOOK)
    assert caught.value.kind == "webhook-not-found"


def test_webhook_needs_its_namespace(database: Database) -> None:
    with pytest.raises(Internal):
        insert_webhook(database)


def test_webhooks_of_a_namespace_and_of_a_repository_are_listed_apart(database: Database) -> None:
    repository = insert_repository(database)
    whole, single = insert_webhook(database, "wh1"), insert_webhook(database, "wh2", repository)
    with database.read() as records:
        assert records.webhooks.list("team", None) == [whole]
        assert records.webhooks.list("team", repository) == [single]
        assert records.webhooks.list("lab", None) == []


def test_webhook_can_be_changed(database: Database) -> None:
    insert_repository(database)
    webhook = insert_webhook(database)
    with database.write() as records:
        kinds = frozenset({EventKind.PUSH})
        records.webhooks.update(HOOK, url="https://example.org", kinds=kinds, active=False)
        records.webhooks.count_failures(HOOK, 3)
    with database.read() as records:
        assert records.webhooks.get(HOOK) == replace(
            webhook, url="https://example.org", kinds=kinds, active=False, failures=3
        )


def test_counting_failures_of_a_webhook_that_is_gone_is_fine(database: Database) -> None:
    with database.write() as records:
        records.webhooks.count_failures(HOOK, 1)


def test_event_goes_to_every_webhook_that_wants_it(database: Database) -> None:
    sql, chat = insert_repository(database), insert_repository(database, CHAT)
    insert_webhook(database, "whole")
    insert_webhook(database, "sql", sql)
    insert_webhook(database, "chat", chat)
    insert_webhook(database, "notes", None, EventKind.NOTE_ADDED)
    insert_webhook(database, "off", active=False)
    event = append(database)
    reached = [key for key in ("whole", "sql", "chat", "notes", "off") if events_of(database, key)]
    assert reached == ["whole", "sql"]
    with database.read() as records:
        row = records.deliveries.get(WebhookId("sql"), event)
    assert row == DeliveryRow(WebhookId("sql"), row.event, DeliveryState.PENDING, 0, NOW)
    assert row.event == Event(EventKind.PUSH, SQL, "ada", NOW, {"ref": "main"}, event)


def test_events_from_before_a_webhook_are_not_sent_to_it(database: Database) -> None:
    insert_repository(database)
    append(database)
    insert_webhook(database)
    assert events_of(database) == []


def test_due_delivery_is_found_and_taken_once(database: Database, pending: EventId) -> None:
    assert find_due(database) == (HOOK, pending)
    assert claim(database, pending).event.id == pending
    assert find_due(database) is None
    with database.write() as records:
        assert records.deliveries.claim(HOOK, pending, Lease("other", NOW, LATER)) is None


def test_lease_that_ran_out_is_taken_over(database: Database, pending: EventId) -> None:
    mine = claim(database, pending)
    assert find_due(database, LATER) == (HOOK, pending)
    claim(database, pending, Lease("other", LATER, MUCH_LATER))
    with database.write() as records:
        assert not records.deliveries.finish(replace(mine, state=DeliveryState.DELIVERED), "me")
    with database.read() as records:
        assert records.deliveries.get(HOOK, pending).state is DeliveryState.PENDING


def test_failed_delivery_is_due_again_only_later(database: Database, pending: EventId) -> None:
    tried = replace(claim(database, pending), attempts=1, due_at=LATER, last_at=NOW, last=FAILED)
    with database.write() as records:
        assert records.deliveries.finish(tried, "me")
    assert find_due(database) is None
    assert find_due(database, LATER) == (HOOK, pending)
    with database.read() as records:
        assert records.deliveries.get(HOOK, pending) == tried
    with database.write() as records:
        assert records.deliveries.claim(HOOK, pending, LEASE) is None


def test_only_the_oldest_pending_delivery_of_a_webhook_is_due(
    database: Database, pending: EventId
) -> None:
    second = append(database)
    tried = replace(claim(database, pending), attempts=1, due_at=LATER, last_at=NOW, last=FAILED)
    assert find_due(database) is None
    with database.write() as records:
        records.deliveries.finish(tried, "me")
    assert find_due(database) is None
    claim(database, pending, Lease("me", LATER, MUCH_LATER))
    with database.write() as records:
        records.deliveries.finish(replace(tried, state=DeliveryState.DEAD), "me")
    assert find_due(database) == (HOOK, second)


def test_webhook_that_waits_does_not_hold_up_others(database: Database, pending: EventId) -> None:
    insert_webhook(database, "other")
    second = append(database)
    row = claim(database, pending)
    with database.write() as records:
        records.deliveries.finish(replace(row, attempts=1, due_at=LATER), "me")
    assert find_due(database) == (WebhookId("other"), second)


def test_namespace_is_sent_one_event_at_a_time_and_others_are_sent_theirs(
    database: Database, pending: EventId
) -> None:
    insert_webhook(database, "other")
    append(database)
    claim(database, pending)
    assert find_due(database) is None
    insert_repository(database, RepositoryName("lab", "sql"))
    insert_webhook(database, "lab", namespace="lab")
    third = append(database, RepositoryName("lab", "sql"))
    assert find_due(database) == (WebhookId("lab"), third)
    # Whoever held it died.
    assert find_due(database, LATER) == (HOOK, pending)


def test_webhooks_that_failed_come_after_those_that_did_not(
    database: Database, pending: EventId
) -> None:
    insert_repository(database, RepositoryName("lab", "sql"))
    insert_webhook(database, "lab", namespace="lab")
    second = append(database, RepositoryName("lab", "sql"))
    assert find_due(database) == (HOOK, pending)
    with database.write() as records:
        records.webhooks.count_failures(HOOK, 1)
    assert find_due(database) == (WebhookId("lab"), second)
    with database.write() as records:
        records.webhooks.count_failures(WebhookId("lab"), 7)
    assert find_due(database) == (HOOK, pending)


def test_inactive_webhook_is_sent_nothing_until_it_is_active_again(
    database: Database, pending: EventId
) -> None:
    webhook = insert_webhook(database, "other")
    for active, due in ((False, None), (True, (HOOK, pending))):
        with database.write() as records:
            records.webhooks.update(HOOK, url=webhook.url, kinds=webhook.kinds, active=active)
        assert find_due(database) == due


def test_deliveries_are_listed_newest_first_by_state_and_page(
    database: Database, pending: EventId
) -> None:
    events = [pending, *[append(database) for _ in range(3)]]
    dead = replace(claim(database, pending), state=DeliveryState.DEAD, last_at=NOW, last=FAILED)
    with database.write() as records:
        records.deliveries.finish(dead, "me")
    with database.read() as records:
        rows = records.deliveries.search(HOOK, limit=2)
        assert [row.event.id for row in rows] == [events[3], events[2]]
        rows = records.deliveries.search(HOOK, before=rows[-1].event.id)
        assert [row.event.id for row in rows] == [events[1], events[0]]
        assert records.deliveries.search(HOOK, state=DeliveryState.DEAD) == [dead]


def test_dead_delivery_is_revived_as_if_untried(database: Database, pending: EventId) -> None:
    tried = replace(claim(database, pending), attempts=8, last_at=NOW, last=FAILED)
    with database.write() as records:
        records.deliveries.finish(replace(tried, state=DeliveryState.DEAD), "me")
    assert find_due(database, MUCH_LATER) is None
    with database.write() as records:
        records.deliveries.revive(HOOK, pending, LATER)
    assert find_due(database, LATER) == (HOOK, pending)
    assert claim(database, pending, Lease("me", LATER, MUCH_LATER)).attempts == 0


def test_delivery_that_is_being_sent_is_not_revived(database: Database, pending: EventId) -> None:
    claim(database, pending)
    with database.write() as records:
        records.deliveries.revive(HOOK, pending, NOW)
    assert find_due(database) is None


def test_missing_delivery_is_not_found(database: Database, pending: EventId) -> None:
    with database.write() as records:
        for action in (
            lambda: records.deliveries.get(HOOK, EventId(99)),
            lambda: records.deliveries.revive(HOOK, EventId(99), NOW),
        ):
            with pytest.raises(NotFound) as caught:
                action()
            assert caught.value.kind == "delivery-not-found"
        assert records.deliveries.claim(HOOK, EventId(99), LEASE) is None


def test_deleted_webhook_takes_its_deliveries_along(database: Database, pending: EventId) -> None:
    mine = claim(database, pending)
    with database.write() as records:
        records.webhooks.delete(HOOK)
        assert not records.deliveries.finish(mine, "me")
    assert events_of(database) == []


def test_deleted_repository_takes_its_webhooks_along_and_its_events_stay(
    database: Database,
) -> None:
    repository = insert_repository(database)
    insert_webhook(database, "single", repository)
    insert_webhook(database, "whole")
    append(database)
    with database.write() as records:
        records.repositories.delete(repository)
    assert events_of(database, "single") == []
    assert len(events_of(database, "whole")) == 1


def test_deleted_namespace_takes_its_webhooks_along(database: Database) -> None:
    with database.write() as records:
        records.namespaces.insert("team", NOW)
    insert_webhook(database)
    with database.write() as records:
        records.namespaces.delete("team")
    with database.read() as records, pytest.raises(NotFound):
        records.webhooks.get(HOOK)


def test_deliveries_are_pruned_with_their_events_although_they_wait(
    database: Database, pending: EventId
) -> None:
    mine = claim(database, pending)
    with database.write() as records:
        assert records.events.prune(MUCH_LATER) == 1
        assert not records.deliveries.finish(mine, "me")
    assert events_of(database) == []
    assert find_due(database, MUCH_LATER) is None
