"""What operators and their machines see: health, readiness, figures, log lines."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from plait.errors import Unavailable
from plait_registry.api import health
from plait_registry.api.app import create_app
from plait_registry.api.health import Stopping
from plait_registry.api.log_format import JsonFormatter
from plait_registry.domain.meter import RequestFacts
from plait_registry.settings import MetricsAccess, Serving
from served.running import Running, running, serving, wait_until


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("data"), TRUSTED_PROXIES="127.0.0.0/8") as server:
        yield server


@contextmanager
def checked_by(registry: Running, check: Callable[[], None]) -> Iterator[str]:
    """Serve the registry with another check, and yield its URL."""
    with serving(create_app(replace(registry.registry, check=check), Serving())) as url:
        yield url


# --- health and readiness ---


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_working_registry_is_alive_and_ready(registry: Running, method: str, path: str) -> None:
    answer = httpx.request(method, registry.url + path)
    assert answer.status_code == 200
    assert answer.text == ('{"status": "ok"}' if method == "GET" else "")


def test_database_that_is_away_makes_the_registry_unready_but_not_dead(
    registry: Running, caplog: pytest.LogCaptureFixture
) -> None:
    def check() -> None:
        raise Unavailable("unavailable", "db.internal:5432 does not answer.", password="s3cr3t")

    with checked_by(registry, check) as url, caplog.at_level(logging.WARNING):
        answer = httpx.get(f"{url}/readyz")
        assert httpx.get(f"{url}/healthz").status_code == 200
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["error"]["kind"] == "unavailable"
    assert "internal" not in answer.text
    assert "s3cr3t" not in answer.text
    assert "db.internal:5432" in caplog.text


def test_database_that_hangs_makes_the_registry_unready_within_a_time(
    registry: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "READY_SECONDS", 0.2)
    hang = threading.Event()

    def check() -> None:
        hang.wait(20)

    with checked_by(registry, check) as url:
        for _ in range(2):
            begun = time.monotonic()
            assert httpx.get(f"{url}/readyz").status_code == 503
            assert time.monotonic() - begun < 5
        assert httpx.get(f"{url}/healthz").status_code == 200
        hang.set()
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200)


def test_database_is_asked_once_a_second_however_often_strangers_ask(registry: Running) -> None:
    asked: list[float] = []
    with checked_by(registry, lambda: asked.append(time.monotonic())) as url:
        begun = time.monotonic()
        with httpx.Client(base_url=url) as client:
            for _ in range(30):
                assert client.get("/readyz").status_code == 200
        assert len(asked) <= 1 + (time.monotonic() - begun)


def test_registry_that_is_about_to_stop_is_alive_and_not_ready(registry: Running) -> None:
    stopping = Stopping()
    with serving(create_app(registry.registry, Serving(), stopping=stopping)) as url:
        assert httpx.get(f"{url}/readyz").status_code == 200
        stopping.asked = True
        answer = httpx.get(f"{url}/readyz")
        assert answer.status_code == 503
        assert "about to stop" in answer.json()["error"]["message"]
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_health_needs_none_of_the_threads_that_requests_work_in(registry: Running) -> None:
    enough = threading.Event()
    entered = threading.Semaphore(0)

    def authenticate(_: str) -> None:
        entered.release()
        enough.wait(20)
        raise Unavailable("unavailable", "Later.")

    changed: Any = {"authenticate": authenticate}
    app = create_app(replace(registry.registry, **changed), Serving(threads=2))
    with serving(app, Serving(threads=2)) as url:
        asking = [
            threading.Thread(target=lambda: registry.client.get(f"{url}/api/v1/repositories"))
            for _ in range(3)
        ]
        for thread in asking:
            thread.start()
        assert entered.acquire(timeout=20)
        assert entered.acquire(timeout=20)
        try:
            assert httpx.get(f"{url}/healthz", timeout=5).status_code == 200
            assert httpx.get(f"{url}/readyz", timeout=5).status_code == 200
        finally:
            enough.set()
        for thread in asking:
            thread.join(20)


# --- figures ---


def read_figures(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(figures: dict[Any, float], name: str, **labels: str) -> float:
    return figures.get((name, frozenset(labels.items())), 0.0)


def fetch_figures(registry: Running) -> dict[Any, float]:
    answer = registry.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return read_figures(answer.text)


def test_requests_are_counted_by_the_template_of_their_path(registry: Running) -> None:
    route = "/api/v1/repositories/{namespace}/{name}"
    labels = {"method": "GET", "route": route, "status": "404"}
    before = fetch_figures(registry)
    for number in range(3):
        registry.client.get(f"/api/v1/repositories/team/r{number}")
    wait_until(
        lambda: (
            figure(fetch_figures(registry), "plait_request_seconds_count", **labels)
            == figure(before, "plait_request_seconds_count", **labels) + 3
        )
    )
    after = fetch_figures(registry)
    kind = {"route": route, "kind": "repository-not-found"}
    assert figure(after, "plait_request_errors_total", **kind) >= 3
    assert figure(after, "plait_sent_bytes_total", route=route) > 0
    assert figure(after, "plait_requests_in_flight") == 1
    assert figure(after, "process_resident_memory_bytes") > 1_000_000


def test_no_path_method_or_name_of_a_client_becomes_a_label(registry: Running) -> None:
    registry.client.get("/secret-project/x")
    registry.client.get("/api/v1/secret-project")
    registry.client.request("SECRETMETHOD", "/objects/secret-project")
    registry.client.request("SEARCH", "/api/v1")
    registry.client.get("/objects/secret-project", params={"q": "secret-project"})
    registry.client.get("/api/v1/repositories/secret-project/x")
    wait_until(lambda: figure(fetch_figures(registry), "plait_requests_in_flight") == 1)
    text = registry.client.get("/metrics").text
    assert "secret" not in text.lower()
    assert registry.token not in text
    found = set(re.findall(r'route="([^"]*)"', text))
    openapi = set(registry.client.get("/openapi.json").json()["paths"])
    others = {"unmatched", "/objects/{object}", "/metrics", "/healthz", "/readyz", "/openapi.json"}
    assert {template.replace(":path}", "}") for template in found} <= openapi | others


def test_bytes_of_bodies_are_counted_on_their_way_in_and_out(registry: Running) -> None:
    route = "/api/v1/repositories"
    before = fetch_figures(registry)
    body = b'{"namespace": "bytes", "name": "counted"}'
    headers = {"content-type": "application/json"}
    answer = registry.client.post(route, content=body, headers=headers)
    for name, size in (("received", len(body)), ("sent", len(answer.content))):
        wait_until(
            lambda name=name, size=size: (  # type: ignore[misc] # mypy knows no defaults here
                figure(fetch_figures(registry), f"plait_{name}_bytes_total", route=route)
                == figure(before, f"plait_{name}_bytes_total", route=route) + size
            )
        )


def test_build_is_told(registry: Running) -> None:
    assert "plait_build_info{" in registry.client.get("/metrics").text


def with_access(registry: Running, access: MetricsAccess) -> Any:
    return serving(create_app(registry.registry, Serving(metrics=access)))


def test_figures_need_a_token_by_default(registry: Running) -> None:
    assert httpx.get(f"{registry.url}/metrics").status_code == 401
    wrong = {"Authorization": "Bearer plait_wrong"}
    assert httpx.get(f"{registry.url}/metrics", headers=wrong).status_code == 401
    assert registry.client.post("/metrics").status_code == 404


def test_figures_can_be_switched_off(registry: Running) -> None:
    with with_access(registry, MetricsAccess.OFF) as url:
        assert registry.client.get(f"{url}/metrics").status_code == 404


def test_open_figures_need_nothing(registry: Running) -> None:
    with with_access(registry, MetricsAccess.OPEN) as url:
        assert httpx.get(f"{url}/metrics").status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_local_figures_are_not_for_what_a_local_proxy_passes_on(
    registry: Running, header: str
) -> None:
    with with_access(registry, MetricsAccess.LOOPBACK) as url:
        assert httpx.get(f"{url}/metrics").status_code == 200
        answer = httpx.get(f"{url}/metrics", headers={header: "127.0.0.1"})
        assert answer.status_code == 403


def test_counting_of_pushes_and_retries_is_shown(registry: Running) -> None:
    before = fetch_figures(registry)
    registry.registry.meter.push_completed(verified=1_000, stored=100)
    registry.registry.meter.transaction_retried()
    after = fetch_figures(registry)
    for name, more in (
        ("plait_pushes_total", 1),
        ("plait_push_verified_bytes_total", 1_000),
        ("plait_push_stored_bytes_total", 100),
        ("plait_transaction_retries_total", 1),
    ):
        assert figure(after, name) == figure(before, name) + more


# --- the log ---


def log_line(caplog: pytest.LogCaptureFixture, path: str) -> dict[str, Any]:
    """Return the fields of the one line about a path, as they are written."""

    def find() -> list[logging.LogRecord]:
        return [record for record in caplog.records if vars(record).get("path") == path]

    wait_until(lambda: bool(find()))
    (record,) = find()
    line: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return line


def test_log_says_who_asked_from_where_and_what_came_of_it(
    registry: Running, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/api/v1/repositories/who/asked"
    with caplog.at_level(logging.INFO, logger="plait_registry.access"):
        registry.client.get(path, headers={"X-Forwarded-For": "evil, 203.0.113.9"})
        line = log_line(caplog, path)
    assert line["remote"] == "203.0.113.9"
    assert line["caller"] == "admin"
    assert line["route"] == "/api/v1/repositories/{namespace}/{name}"
    assert (line["status"], line["kind"]) == (404, "repository-not-found")
    assert line["sent"] > 0
    assert line["pid"] > 0


def test_strangers_have_no_name_in_the_log(
    registry: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="plait_registry.access"):
        httpx.get(f"{registry.url}/api/v1/nobody")
        line = log_line(caplog, "/api/v1/nobody")
    assert "caller" not in line
    assert (line["remote"], line["kind"]) == ("127.0.0.1", "token-missing")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_leave_no_line_in_the_usual_log(
    registry: Running, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with caplog.at_level(logging.DEBUG, logger="plait_registry.access"):
        httpx.get(registry.url + path)
        wait_until(lambda: bool(caplog.records))
    levels = {record.levelno for record in caplog.records if vars(record).get("path") == path}
    assert levels == {logging.DEBUG}


def test_meter_takes_a_client_that_went_away(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        meter = server.registry.meter
        meter.request_begun()
        meter.request_ended(RequestFacts("BREW", "/x", 499, 0.1, 0, 0, None))
        figures = read_figures(meter.render().decode())
    labels = {"method": "other", "route": "/x", "status": "499"}
    assert figure(figures, "plait_request_seconds_count", **labels) == 1
