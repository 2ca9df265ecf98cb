"""Events and webhooks over HTTP, from a change to a receiver that checks the signature."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from plait.errors import NotFound
from plait.events import EventFilter, follow_events, read_events
from plait.http_transport import HttpTransport
from plait.model.ids import hash_bytes
from plait.webhooks import Webhooks
from plait.wire_events import Event
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.access import Role
from plait_registry.domain.accounts import TokenRecord
from reference.scripted_server import Answer, Received, serve
from served.running import Running, running, wait_until

NOW = "2026-11-24T06:07:00Z"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("registry") / "data"
    with running(root, WEBHOOK_ALLOW_PRIVATE="1") as opened:
        add_user(opened, "eve")
        yield opened


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """Return a namespace that no other test has."""
    return "n" + hash_bytes(request.node.name.encode())[:12]


def add_user(server: Running, name: str, **roles: Role) -> None:
    """Add somebody whose token is their name."""
    with (
        closing(SqlDatabase.in_file(server.folder.database_path)) as database,
        database.write() as records,
    ):
        user = records.users.insert(name, is_admin=False, created_at=NOW)
        for namespace, role in roles.items():
            records.namespaces.set_member(namespace, user.id, role)
        digest = hash_bytes(name.encode())
        records.tokens.insert(TokenRecord(name, user.id, "", digest, None, NOW, None, None, None))


def as_user(server: Running, name: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {name}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=30)


def create(server: Running, namespace: str, name: str, *, private: bool = False) -> str:
    wanted = {"namespace": namespace, "name": name, "private": private}
    answer = server.client.post("/api/v1/repositories", json=wanted)
    assert answer.status_code == 201, answer.text
    return f"{namespace}/{name}"


def describe(server: Running, repository: str, text: str) -> None:
    """Make an event: the quickest change there is."""
    answer = server.client.patch(f"/api/v1/repositories/{repository}", json={"description": text})
    assert answer.status_code == 200, answer.text


def read(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.get("/api/v1/events", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def refuse(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["kind"]


def verify(received: Received, secret: str) -> dict[str, Any]:
    """Check a signature as a receiver does who knows only the documentation."""
    timestamp = received.headers["x-plait-timestamp"]
    signed = timestamp.encode() + b"." + received.body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    assert received.headers["x-plait-signature-256"] == f"sha256={expected}"
    assert abs(time.time() - int(timestamp)) < 300
    event: dict[str, Any] = json.loads(received.body)
    return event


def deliver_all(server: Running) -> None:
    while server.registry.events.deliver():
        pass


def test_changes_are_in_the_feed_in_order(server: Running, namespace: str) -> None:
    repository = create(server, namespace, "sql")
    describe(server, repository, "Text to SQL")
    assert server.client.delete(f"/api/v1/repositories/{repository}").status_code == 204
    page = read(server.client, namespace=namespace)
    assert [event["kind"] for event in page["events"]] == [
        "repository.created",
        "repository.updated",
        "repository.deleted",
    ]
    assert {event["actor"] for event in page["events"]} == {"admin"}
    assert page["events"][1]["details"] == {"description": "Text to SQL", "private": False}
    assert page["next"] == page["events"][-1]["id"]


def test_pages_lead_to_each_other_and_to_the_end(server: Running, namespace: str) -> None:
    repository = create(server, namespace, "sql")
    for number in range(4):
        describe(server, repository, str(number))
    seen, cursor = [], None
    while True:
        query = {"repository": repository, "limit": 2} | ({"after": cursor} if cursor else {})
        page = read(server.client, **query)
        if not page["events"]:
            break
        assert len(page["events"]) <= 2
        seen += page["events"]
        cursor = page["next"]
    assert [event["details"].get("description") for event in seen] == [None, "0", "1", "2", "3"]
    assert read(server.client, after=cursor, repository=repository)["next"] == cursor


def test_feed_can_be_narrowed_to_kinds(server: Running, namespace: str) -> None:
    repository = create(server, namespace, "sql")
    describe(server, repository, "one")
    kinds = ["repository.updated", "push"]
    page = read(server.client, namespace=namespace, kind=kinds)
    assert [event["kind"] for event in page["events"]] == ["repository.updated"]


@pytest.mark.parametrize(
    "query",
    [
        {"after": "nonsense"},
        {"kind": "pushed"},
        {"wait": 31},
        {"wait": -1},
        {"wait": "nan"},
        {"limit": 0},
        {"repository": "nonsense"},
        {"namespace": "a/b"},
    ],
)
def test_wrong_query_is_refused(server: Running, query: dict[str, Any]) -> None:
    assert server.client.get("/api/v1/events", params=query).status_code == 422


def test_feed_wants_a_token(server: Running) -> None:
    answer = httpx.get(f"{server.url}/api/v1/events", timeout=30)
    assert refuse(answer) == (401, "token-missing")


def test_events_of_a_private_repository_are_invisible_to_strangers(
    server: Running, namespace: str
) -> None:
    begin = read(server.client, after="latest")["next"]
    closed = create(server, namespace, "closed", private=True)
    opened = create(server, namespace, "open")
    with as_user(server, "eve") as eve:
        page = read(eve, after=begin)
        assert [event["repository"] for event in page["events"]] == [opened]
        describe(server, closed, "secret plans")
        after = read(eve, after=page["next"], wait=0.2)
        assert after == {"events": [], "next": page["next"]}
        assert read(eve, repository=closed)["events"] == []
    assert len(read(server.client, repository=closed)["events"]) == 2


def test_waiting_request_is_answered_by_the_event(server: Running, namespace: str) -> None:
    repository = create(server, namespace, "sql")
    begin = read(server.client, after="latest")["next"]
    timer = threading.Timer(0.3, lambda: describe(server, repository, "now"))
    timer.start()
    begun = time.monotonic()
    page = read(server.client, after=begin, repository=repository, wait=20)
    timer.join()
    assert time.monotonic() - begun < 10
    assert [event["details"]["description"] for event in page["events"]] == ["now"]


def test_follower_gets_every_event_once_and_can_go_on_later(
    server: Running, namespace: str
) -> None:
    repository = create(server, namespace, "sql")
    wanted = EventFilter(repository=repository)
    got: list[Event] = []

    def follow() -> None:
        with closing(HttpTransport(server.url, server.token)) as transport:
            for event in follow_events(transport, wanted, after=begin):
                got.append(event)
                if len(got) == 3:
                    return

    begin = read(server.client, after="latest")["next"]
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    for number in range(3):
        describe(server, repository, str(number))
    thread.join(30)
    assert [event.details["description"] for event in got] == ["0", "1", "2"]
    with closing(HttpTransport(server.url, server.token)) as transport:
        rest = list(read_events(transport, wanted, after=got[0].id))
    assert [event.id for event in rest] == [event.id for event in got[1:]]


def test_webhook_is_sent_signed_events(server: Running, namespace: str) -> None:
    repository = create(server, namespace, "sql")
    with serve(Answer(200)) as receiver:
        with closing(HttpTransport(server.url, server.token)) as transport:
            made = Webhooks(transport).create(namespace, f"{receiver.url}/hook")
        describe(server, repository, "one")
        deliver_all(server)
        [received] = receiver.received
    event = verify(received, made.secret)
    assert event["details"]["description"] == "one"
    assert event == read(server.client, repository=repository)["events"][-1]
    assert received.headers["x-plait-event"] == "repository.updated"
    assert received.headers["x-plait-delivery"].startswith(made.webhook.id)
    assert received.headers["content-type"] == "application/json"


def test_secret_is_shown_once(server: Running, namespace: str) -> None:
    create(server, namespace, "sql")
    with closing(HttpTransport(server.url, server.token)) as transport:
        webhooks = Webhooks(transport)
        made = webhooks.create(namespace, "https://ci.example.org/")
        answers = [webhooks.get(made.webhook.id), webhooks.list(namespace)]
    assert made.secret not in str(answers)


def test_failing_webhook_is_shown_and_its_delivery_sent_anew_by_hand(
    server: Running, namespace: str
) -> None:
    repository = create(server, namespace, "sql")
    with serve(Answer(500), Answer(204, b"")) as receiver:
        with closing(HttpTransport(server.url, server.token)) as transport:
            webhooks = Webhooks(transport)
            key = webhooks.create(repository, receiver.url).webhook.id
            describe(server, repository, "one")
            deliver_all(server)
            [failed] = webhooks.deliveries(key)
            assert (failed.state, failed.attempts, failed.last_status) == ("pending", 1, 500)
            assert webhooks.get(key).failures == 1
            assert webhooks.redeliver(failed.id).attempts == 0
            deliver_all(server)
            [done] = webhooks.deliveries(key, state="delivered")
            assert (done.id, done.last_error, done.due_at) == (failed.id, None, None)
            assert webhooks.get(key).failures == 0
        ids = [received.headers["x-plait-delivery"] for received in receiver.received]
    assert ids == [failed.id, failed.id]


def test_deliveries_come_in_pages(server: Running, namespace: str) -> None:
    repository = create(server, namespace, "sql")
    with closing(HttpTransport(server.url, server.token)) as transport:
        webhooks = Webhooks(transport)
        key = webhooks.create(repository, "https://ci.example.org/").webhook.id
        webhooks.update(key, active=True)
        for number in range(3):
            describe(server, repository, str(number))
        first = server.client.get(f"/api/v1/webhooks/{key}/deliveries", params={"limit": 2}).json()
        rest = server.client.get(
            f"/api/v1/webhooks/{key}/deliveries", params={"limit": 2, "cursor": first["next"]}
        ).json()
        webhooks.delete(key)
        with pytest.raises(NotFound):
            webhooks.get(key)
    texts = [
        row["event"]["details"]["description"]
        for row in [*first["deliveries"], *rest["deliveries"]]
    ]
    assert texts == ["2", "1", "0"]
    assert rest["next"] is None


def test_webhooks_are_for_maintainers(server: Running, namespace: str) -> None:
    repository = create(server, namespace, "sql")
    add_user(server, f"{namespace}-writer", **{namespace: Role.WRITER})
    add_user(server, f"{namespace}-maintainer", **{namespace: Role.MAINTAINER})
    wanted = {"target": repository, "url": "https://ci.example.org/"}
    with as_user(server, f"{namespace}-maintainer") as maintainer:
        made = maintainer.post("/api/v1/webhooks", json=wanted)
        assert made.status_code == 201
    path = f"/api/v1/webhooks/{made.json()['webhook']['id']}"
    for name, expected in (
        (f"{namespace}-writer", (403, "permission-denied")),
        ("eve", (403, "permission-denied")),
    ):
        with as_user(server, name) as client:
            assert refuse(client.post("/api/v1/webhooks", json=wanted)) == expected
            assert refuse(client.get(path)) == expected
            assert refuse(client.delete(path)) == expected
    wanted = {"target": namespace, "url": "https://ci.example.org/"}
    with as_user(server, "eve") as eve:
        assert refuse(eve.post("/api/v1/webhooks", json=wanted)) == (404, "namespace-not-found")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://a@b/", ""])
def test_wrong_url_of_a_webhook_is_refused(server: Running, namespace: str, url: str) -> None:
    repository = create(server, namespace, "sql")
    answer = server.client.post("/api/v1/webhooks", json={"target": repository, "url": url})
    assert refuse(answer) == (422, "invalid-webhook-url")


@pytest.mark.parametrize("state", ["lost", ""])
def test_unknown_state_of_deliveries_is_refused(
    server: Running, namespace: str, state: str
) -> None:
    create(server, namespace, "sql")
    with closing(HttpTransport(server.url, server.token)) as transport:
        key = Webhooks(transport).create(namespace, "https://ci.example.org/").webhook.id
    answer = server.client.get(f"/api/v1/webhooks/{key}/deliveries", params={"state": state})
    assert refuse(answer) == (422, "invalid-input")


def test_private_receivers_are_refused_unless_the_operator_allows_them(tmp_path: Path) -> None:
    with running(tmp_path / "data") as strict:
        create(strict, "team", "sql")
        wanted = {"target": "team", "url": "https://169.254.169.254/latest"}
        answer = strict.client.post("/api/v1/webhooks", json=wanted)
        assert refuse(answer) == (422, "invalid-webhook-url")
        assert "PLAIT_WEBHOOK_ALLOW_PRIVATE" in answer.text


def test_waiting_requests_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        after = read(server.client, after="latest")["next"]
        pages: list[dict[str, Any]] = []
        thread = threading.Thread(
            target=lambda: pages.append(read(server.client, after=after, wait=30))
        )
        thread.start()
        waiting = server.registry.events.read._waiting
        wait_until(lambda: waiting._value < 8)
        begun = time.monotonic()
        server.registry.events.read.stop()
        thread.join(10)
        assert time.monotonic() - begun < 5
    assert pages == [{"events": [], "next": after}]
