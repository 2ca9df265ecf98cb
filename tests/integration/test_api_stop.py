"""From a signal to the end: readiness first, then the socket, then what was under way."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from plait_registry.api.service_manager import READY, tell_service_manager
from served.running import wait_until

PROGRAM = [sys.executable, "-c", "from plait_registry.cli import main; main()"]
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)\n")
LIMIT = 60


@contextmanager
def started(data: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run `serve` with some variables, and yield it and a client that has the token."""
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
    )
    try:
        assert process.stdout is not None
        match = LISTENING.fullmatch(process.stdout.readline())
        assert match is not None
        token = (data / "admin.token").read_text()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=match[1], headers=headers, timeout=LIMIT) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def test_load_balancer_hears_of_the_stop_while_requests_are_still_taken(tmp_path: Path) -> None:
    with started(tmp_path, PLAIT_DRAIN_SECONDS="3") as (process, client):
        assert client.get("/readyz").status_code == 200
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(client.base_url.join("/readyz")).status_code == 503)
        assert httpx.get(client.base_url.join("/healthz")).status_code == 200
        assert client.get("/api/v1/repositories").status_code == 200
        assert process.wait(LIMIT) == 0
        assert time.monotonic() - begun > 2.5
        with pytest.raises(httpx.ConnectError):
            httpx.get(client.base_url.join("/readyz"))


def test_second_signal_ends_the_wait_for_the_load_balancer(tmp_path: Path) -> None:
    with started(tmp_path, PLAIT_DRAIN_SECONDS="600") as (process, client):
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: client.get("/readyz").status_code == 503)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0


@pytest.mark.parametrize(("stop_seconds", "status"), [("1", None), ("20", 201)])
def test_request_has_as_long_as_the_setting_says_to_finish(
    tmp_path: Path, stop_seconds: str, status: int | None
) -> None:
    with started(tmp_path, PLAIT_STOP_SECONDS=stop_seconds) as (process, client):

        def ask(path: str) -> str:
            return httpx.get(client.base_url.join(path), headers=client.headers).text

        def body() -> Iterator[bytes]:
            yield b'{"namespace": "late",'
            # Besides the one that asks.
            wait_until(lambda: "plait_requests_in_flight 2.0" in ask("/metrics"))
            process.send_signal(signal.SIGTERM)
            time.sleep(2.5)
            yield b' "name": "one"}'

        headers = {"content-type": "application/json"}
        answers: list[int] = []
        with contextlib.suppress(httpx.TransportError):
            answer = client.post("/api/v1/repositories", content=body(), headers=headers)
            answers.append(answer.status_code)
        assert process.wait(LIMIT) == 0
    assert (status in answers) == (status is not None)


def test_misspelt_setting_is_in_the_log_without_its_value(tmp_path: Path) -> None:
    with started(tmp_path, PLAIT_STOP_SECOND="s3cr3t") as (process, _):
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=LIMIT)
    assert "did you mean PLAIT_STOP_SECONDS?" in log
    assert "s3cr3t" not in log


@pytest.mark.parametrize("is_abstract", [False, True])
def test_service_manager_hears_that_the_server_is_ready(
    tmp_path: Path, *, is_abstract: bool
) -> None:
    path = f"@plait-test-{tmp_path.name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path.replace("@", "\0", 1) if is_abstract else path)
        listener.settimeout(LIMIT)
        with started(tmp_path / "data", NOTIFY_SOCKET=path):
            assert listener.recv(100) == b"READY=1"


def test_service_manager_that_is_not_there_is_not_missed(tmp_path: Path) -> None:
    tell_service_manager(None, READY)
    tell_service_manager(str(tmp_path / "nobody"), READY)
