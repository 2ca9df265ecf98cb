"""Deliveries, with a sender that does what the test says."""

import threading
from collections.abc import Mapping

from database_suite.rows import NOW
from plait.model.address import RepositoryName
from plait.webhooks import is_signed
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.domain.events import Event, EventId, EventKind
from plait_registry.domain.webhooks import (
    Attempt,
    Backoff,
    DeliveryRow,
    DeliveryState,
    WebhookId,
    WebhookRecord,
)
from plait_registry.services.deliver_events import (
    LEASE_S,
    DeliverEvents,
    PruneEvents,
    add_seconds,
)

HOOK = WebhookId("wh1")
GOOD = Attempt(204, None)
BAD = Attempt(500, "The receiver answered with status 500.")
NAME = RepositoryName("team", "sql")


class MovingClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> str:
        return self.time

    def move(self, seconds: float) -> None:
        self.time = add_seconds(self.time, seconds)


class ScriptedSender:
    """Answers with a script, whose last line repeats, and keeps what it was given."""

    def __init__(self, *script: Attempt) -> None:
        self.script = list(script)
        self.sent: list[tuple[str, Mapping[str, str], bytes]] = []

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        self.sent.append((url, headers, body))
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    @property
    def deliveries(self) -> list[str]:
        return [headers["X-Plait-Delivery"] for _, headers, _ in self.sent]


class Desk:
    """A registry with one webhook."""

    def __init__(self, *script: Attempt, attempts: int = 3) -> None:
        self.database = MemoryDatabase()
        self.clock = MovingClock()
        self.sender = ScriptedSender(*script)
        backoff = Backoff(attempts)
        self.deliver = DeliverEvents(self.database, self.sender, self.clock, backoff, lambda: 0.5)
        with self.database.write() as records:
            records.namespaces.insert("team", NOW)
            records.webhooks.insert(make_webhook())

    def append(self) -> EventId:
        with self.database.write() as records:
            records.events.append(Event(EventKind.PUSH, NAME, "ada", self.clock.now(), {"n": 1}))
            return records.events.newest()

    def row(self, event: EventId) -> DeliveryRow:
        with self.database.read() as records:
            return records.deliveries.get(HOOK, event)

    def webhook(self) -> WebhookRecord:
        with self.database.read() as records:
            return records.webhooks.get(HOOK)

    def run(self, hours: float = 0) -> None:
        """Deliver all that is due within that time."""
        for _ in range(max(1, round(hours * 60))):
            while self.deliver():
                pass
            self.clock.move(60 if hours else 0)


def make_webhook() -> WebhookRecord:
    return WebhookRecord(
        id=HOOK,
        target="team",
        namespace="team",
        repository=None,
        url="https://ci.example.org/hook",
        secret="the secret",
        kinds=frozenset(),
        active=True,
        created_at=NOW,
        created_by="ada",
    )


def test_nothing_due_is_nothing_sent() -> None:
    desk = Desk(GOOD)
    assert desk.deliver() is False
    assert desk.sender.sent == []


def test_event_is_sent_once_and_signed() -> None:
    desk = Desk(GOOD)
    event = desk.append()
    desk.run()
    [(url, headers, body)] = desk.sender.sent
    assert url == "https://ci.example.org/hook"
    assert headers["X-Plait-Event"] == "push"
    assert headers["X-Plait-Delivery"] == f"wh1-{event:x}"
    assert headers["X-Plait-Timestamp"] == "1795500420"
    signature = headers["X-Plait-Signature-256"]
    assert is_signed("the secret", headers["X-Plait-Timestamp"], body, signature)
    row = desk.row(event)
    assert (row.state, row.attempts, row.last_at) == (DeliveryState.DELIVERED, 1, NOW)
    assert row.last == GOOD


def test_failed_delivery_is_sent_again_after_growing_pauses_under_the_same_id() -> None:
    desk = Desk(BAD, BAD, GOOD)
    event = desk.append()
    times = []
    while desk.row(event).state is DeliveryState.PENDING:
        times.append(desk.clock.now())
        desk.run()
        desk.clock.time = desk.row(event).due_at
    assert times == [NOW, add_seconds(NOW, 30), add_seconds(NOW, 150)]
    assert desk.sender.deliveries == [f"wh1-{event:x}"] * 3
    assert desk.row(event).state is DeliveryState.DELIVERED


def test_delivery_is_dead_after_the_last_attempt_and_can_be_sent_anew() -> None:
    desk = Desk(BAD, BAD, BAD, GOOD)
    event = desk.append()
    desk.run(hours=1)
    row = desk.row(event)
    assert (row.state, row.attempts, row.last) == (DeliveryState.DEAD, 3, BAD)
    with desk.database.write() as records:
        records.deliveries.revive(HOOK, event, desk.clock.now())
    desk.run()
    assert desk.row(event).state is DeliveryState.DELIVERED


def test_later_events_wait_for_the_one_that_fails_and_go_in_order() -> None:
    desk = Desk(BAD, GOOD)
    events = [desk.append() for _ in range(3)]
    desk.run()
    assert desk.sender.deliveries == [f"wh1-{events[0]:x}"]
    desk.run(hours=0.1)
    assert desk.sender.deliveries == [f"wh1-{event:x}" for event in [events[0], *events]]


def test_webhook_counts_as_failing_until_something_arrives() -> None:
    desk = Desk(BAD, BAD, BAD, GOOD)
    desk.append()
    desk.run(hours=1)
    assert (desk.webhook().failures, desk.webhook().is_failing) == (3, True)
    desk.append()
    desk.run()
    assert (desk.webhook().failures, desk.webhook().is_failing) == (0, False)


def test_no_transaction_is_open_while_sending() -> None:
    desk = Desk(GOOD)

    class Writing(ScriptedSender):
        def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
            # It would wait for ever for a transaction of the same thread.
            with desk.database.write() as records:
                records.users.insert("bob", is_admin=False, created_at=NOW)
            return GOOD

    desk.append()
    deliver = DeliverEvents(desk.database, Writing(GOOD), desk.clock, Backoff(), lambda: 0.5)
    assert deliver()


def test_two_workers_never_send_one_delivery_at_the_same_time() -> None:
    desk = Desk(GOOD)
    sending, may_end = threading.Event(), threading.Event()

    class Slow(ScriptedSender):
        def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
            sending.set()
            assert may_end.wait(30)
            return GOOD

    event = desk.append()
    slow = DeliverEvents(desk.database, Slow(GOOD), desk.clock, Backoff(), lambda: 0.5)
    thread = threading.Thread(target=slow)
    thread.start()
    assert sending.wait(30)
    assert desk.deliver() is False
    may_end.set()
    thread.join(30)
    assert desk.sender.sent == []
    assert desk.row(event).state is DeliveryState.DELIVERED


def test_worker_that_died_while_sending_is_replaced_after_its_lease() -> None:
    desk = Desk(GOOD)

    class Dying(ScriptedSender):
        def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
            raise KeyboardInterrupt

    event = desk.append()
    dying = DeliverEvents(desk.database, Dying(GOOD), desk.clock, Backoff(), lambda: 0.5)
    try:
        dying()
    except KeyboardInterrupt:
        assert desk.deliver() is False
    desk.clock.move(LEASE_S)
    desk.run()
    assert desk.sender.deliveries == [f"wh1-{event:x}"]
    assert desk.row(event).attempts == 1


def test_webhook_that_is_deleted_while_sending_leaves_nothing() -> None:
    desk = Desk(GOOD)

    class Deleting(ScriptedSender):
        def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
            with desk.database.write() as records:
                records.webhooks.delete(HOOK)
            return BAD

    desk.append()
    deliver = DeliverEvents(desk.database, Deleting(BAD), desk.clock, Backoff(), lambda: 0.5)
    assert deliver()
    assert not deliver()


def test_events_are_removed_after_their_days() -> None:
    desk = Desk(GOOD)
    desk.append()
    prune = PruneEvents(desk.database, desk.clock, days=30)
    desk.clock.move(30 * 86_400)
    assert prune() == 0
    desk.clock.move(1)
    assert prune() == 1
    assert desk.deliver() is False
