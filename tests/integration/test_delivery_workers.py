"""Workers that share a PostgreSQL: each event arrives once, in order, and none is lost."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from database_suite.databases import emptied_postgresql
from database_suite.rows import NOW
from plait.model.address import RepositoryName
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.adapters.system_clock import SystemClock
from plait_registry.adapters.webhook_sender import HttpWebhookSender
from plait_registry.domain.events import Event, EventKind
from plait_registry.domain.webhooks import Backoff, DeliveryState, WebhookId, WebhookRecord
from plait_registry.services.deliver_events import DeliverEvents
from reference.scripted_server import Answer, ScriptedServer, serve

NAME = RepositoryName("team", "sql")
LIMIT = 30.0


@pytest.fixture
def database() -> Iterator[SqlDatabase]:
    with closing(SqlDatabase(emptied_postgresql(), wait_s=LIMIT)) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    with serve(Answer(204, b"")) as opened:
        yield opened


def insert_webhooks(database: SqlDatabase, url: str, count: int) -> list[WebhookId]:
    keys = [WebhookId(f"wh{number}") for number in range(count)]
    with database.write() as records:
        records.namespaces.insert("team", NOW)
        for key in keys:
            webhook = WebhookRecord(
                id=key,
                target="team",
                namespace="team",
                repository=None,
                url=f"{url}/{key}",
                secret="secret",
                kinds=frozenset(),
                active=True,
                created_at=NOW,
                created_by="ada",
            )
            records.webhooks.insert(webhook)
    return keys


def append(database: SqlDatabase, count: int) -> None:
    for number in range(count):
        with database.write() as records:
            records.events.append(Event(EventKind.PUSH, NAME, "ada", NOW, {"number": number}))


def count_pending(database: SqlDatabase, keys: list[WebhookId]) -> int:
    with database.read() as records:
        pending = [records.deliveries.search(key, state=DeliveryState.PENDING) for key in keys]
    return sum(map(len, pending))


def wait_for_all(database: SqlDatabase, keys: list[WebhookId]) -> None:
    deadline = time.monotonic() + LIMIT
    while count_pending(database, keys):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def worker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `plait-registry worker`, which must end well when it is told to."""
    environ = {
        "PLAIT_DATABASE_URL": emptied_url(),
        "PLAIT_WEBHOOK_ALLOW_PRIVATE": "1",
        "PLAIT_DELIVERY_THREADS": "2",
        "PATH": "/usr/bin:/bin",
    }
    program = Path(sys.executable).with_name("plait-registry")
    with subprocess.Popen(
        [program, "worker", "--data", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if line != "delivering events\n":
            process.kill()
            pytest.fail(process.communicate(timeout=LIMIT)[1])
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(LIMIT) == 0


def emptied_url() -> str:
    """Return the database's URL, without emptying it once more."""
    from database_suite.databases import _migrated_postgresql

    return _migrated_postgresql()


def test_workers_at_once_send_each_event_once_and_in_order(
    database: SqlDatabase, receiver: ScriptedServer
) -> None:
    keys = insert_webhooks(database, receiver.url, 3)
    append(database, 12)
    stop = threading.Event()

    def work() -> None:
        sender = HttpWebhookSender(allow_private=True)
        deliver = DeliverEvents(database, sender, SystemClock(), Backoff(), lambda: 0.5)
        while not stop.is_set():
            if not deliver():
                stop.wait(0.02)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for_all(database, keys)
    finally:
        stop.set()
        for thread in threads:
            thread.join(LIMIT)
    for key in keys:
        sent = [
            received.headers["x-plait-delivery"]
            for received in receiver.received
            if received.path == f"/{key}"
        ]
        with database.read() as records:
            rows = records.deliveries.search(key)
        assert sent == [row.id for row in reversed(rows)]
        assert {row.attempts for row in rows} == {1}


def test_worker_program_delivers_until_it_is_told_to_stop(
    database: SqlDatabase, receiver: ScriptedServer, tmp_path: Path
) -> None:
    keys = insert_webhooks(database, receiver.url, 1)
    append(database, 2)
    with worker(tmp_path / "data"):
        wait_for_all(database, keys)
    assert [received.path for received in receiver.received] == ["/wh0", "/wh0"]


def test_worker_program_beside_a_data_folder_is_refused(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("plait-registry")
    done = subprocess.run(
        [program, "worker", "--data", tmp_path / "data"],
        env={"PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "PLAIT_DATABASE_URL" in done.stderr
