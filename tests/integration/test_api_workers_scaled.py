"""`plait-registry serve --workers` as operators run it: on PostgreSQL and S3."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from served.postgres import shared_postgres_server
from served.running import wait_until
from served.s3 import shared_s3_server

PROGRAM = [sys.executable, "-c", "from plait_registry.cli import main; main()"]
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)\n")
LIMIT = 60
WORKERS = 2


@dataclass(frozen=True)
class Scaled:
    """A registry of several workers."""

    process: subprocess.Popen[str]
    url: str
    data: Path

    def ask(self, path: str) -> httpx.Response:
        """Ask by a connection of its own, which any of the workers may get."""
        token = (self.data / "admin.token").read_text()
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {token}"})

    def figure(self, start: str) -> float:
        """Return the sum of the figures whose line begins so."""
        lines = self.ask("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    def pids(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in children.read_text().split()}


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    data = tmp_path_factory.mktemp("scaled") / "data"
    postgres, s3 = shared_postgres_server(), shared_s3_server()
    environment = {
        **os.environ,
        **s3.environment(s3.new_bucket()),
        "PLAIT_DATABASE_URL": postgres.url(postgres.new_database()),
        # Another program's, which must not be mixed up with ours.
        "PROMETHEUS_MULTIPROC_DIR": "/nonexistent",
    }
    log = data.parent / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--data", str(data), "--port", "0", "--workers", str(WORKERS)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
    try:
        assert process.stdout is not None
        match = LISTENING.fullmatch(process.stdout.readline())
        assert match is not None, log.read_text()
        yield Scaled(process, match[1], data)
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT)
        assert process.returncode == 0, log.read_text()
        assert not (data / "server.json").exists()
    finally:
        process.kill()
        process.communicate()


def test_figures_are_of_all_workers_whichever_answers(scaled: Scaled) -> None:
    start = 'plait_request_seconds_count{method="GET",route="/api/v1/repositories"'
    before = scaled.figure(start)
    for _ in range(20):
        assert scaled.ask("/api/v1/repositories").status_code == 200
    for _ in range(5):
        wait_until(lambda: scaled.figure(start) == before + 20)
    assert scaled.figure("plait_requests_in_flight") == 1
    memory = [
        line
        for line in scaled.ask("/metrics").text.splitlines()
        if line.startswith("process_resident_memory_bytes{")
    ]
    assert {int(re.findall(r'worker="(\d+)"', line)[0]) for line in memory} == scaled.pids()


def test_requests_go_on_while_a_worker_is_killed_and_replaced(scaled: Scaled) -> None:
    start = 'plait_request_seconds_count{method="GET",route="/api/v1"'
    for _ in range(10):
        scaled.ask("/api/v1")
    wait_until(lambda: scaled.figure(start) >= 10)
    before = scaled.figure(start)
    statuses: list[int] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            try:
                statuses.append(scaled.ask("/api/v1/repositories").status_code)
            except httpx.TransportError:
                # What the killed worker was just answering.
                statuses.append(0)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        killed = min(scaled.pids())
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in scaled.pids() and len(scaled.pids()) == WORKERS)
    finally:
        enough.set()
        asking.join(LIMIT)
    assert statuses.count(0) <= 1
    assert set(statuses) <= {0, 200}
    # What it had counted is not lost with it.
    assert scaled.figure(start) >= before
    assert f'worker="{killed}"' not in scaled.ask("/metrics").text


def test_several_workers_on_a_data_folder_are_refused_by_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "serve", "--data", str(tmp_path), "--port", "0", "--workers", "2"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 2
    assert "PLAIT_WORKERS" in done.stderr
    assert "PostgreSQL" in done.stderr


def test_workers_that_cannot_reach_their_store_say_so_once(tmp_path: Path) -> None:
    postgres = shared_postgres_server()
    environment = {
        **os.environ,
        "PLAIT_DATABASE_URL": postgres.url(postgres.new_database()),
        "PLAIT_OBJECT_STORE": "s3://bucket?endpoint=http://127.0.0.1:9&region=us-east-1",
        "PLAIT_S3_ACCESS_KEY": "k",
        "PLAIT_S3_SECRET_KEY": "s",
    }
    done = subprocess.run(
        [*PROGRAM, "serve", "--data", str(tmp_path), "--port", "0", "--workers", "3"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=environment,
    )
    assert done.returncode == 1
    assert done.stderr.count("plait-registry: ") == 1
    assert "Traceback" not in done.stderr
