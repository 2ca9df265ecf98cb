"""`serve` and `worker` are killed while the process of a job runs: the job has one outcome."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from database_suite.databases import emptied_postgresql
from e2e.made_adapters import lora_tensors, write_adapter
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.push_folder import FolderPush, push_folder
from served.accounts import API, succeed
from served.jobs import TESTS, ask, find_processes, is_hanging, log_of, look, wait_for, wait_for_end

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LIMIT = 60.0
NAME = "team/sql"
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:(\d+))\n")


class Program:
    """A program that runs."""

    def __init__(self, process: subprocess.Popen[str], line: str) -> None:
        self.process = process
        self.line = line
        """What it said when it was ready."""

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(LIMIT)


@contextmanager
def started(*words: str, **environ: str) -> Iterator[Program]:
    """Run a program until the end of the block, and wait until it is ready."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-m", "served.job_programs", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**kept, "PYTHONPATH": str(TESTS), **environ},
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield Program(process, process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def served(data: Path, port: str = "0", **environ: str) -> Iterator[tuple[Program, httpx.Client]]:
    """Run `serve`, with a client of it."""
    with started("serve", "--data", str(data), "--port", port, **environ) as program:
        match = LISTENING.fullmatch(program.line)
        assert match is not None, program.line
        token = (data / "admin.token").read_text("ascii")
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=match[1], headers=headers, timeout=30) as client:
            yield program, client


def push_first(client: httpx.Client, folder: Path) -> None:
    token = client.headers["authorization"].removeprefix("Bearer ")
    with closing(HttpTransport(str(client.base_url), token)) as transport:
        wish = FolderPush(
            folder=write_adapter(folder, lora_tensors(seed=5)),
            message="First",
            author=Person("Ada", ""),
            time="2026-11-24T06:07:00Z",
            create=True,
        )
        push_folder(transport, RepositoryName.parse(NAME), wish)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def verify_one_outcome(client: httpx.Client, job: str, attempts: int) -> None:
    found: dict[str, Any] = wait_for_end(client, job)["job"]
    assert (found["state"], found["attempts"]) == ("done", attempts), found
    assert log_of(client, NAME) == [found["result"]["commit"]]


@pytest.mark.parametrize("wish", ["hang once", "push, then hang once"])
def test_registry_that_is_killed_goes_on_with_its_jobs_when_it_is_back(
    tmp_path: Path, wish: str
) -> None:
    data = tmp_path / "data"
    with served(data) as (program, client):
        push_first(client, tmp_path / "adapter")
        job = ask(client, NAME, wish)
        wait_for(client, job, is_hanging)
        assert len(find_processes(job)) == 1
        program.kill()
    # Nobody told it: the pipe to whoever started it is closed.
    wait_until(lambda: find_processes(job) == [])
    assert len(list((data / "jobs").iterdir())) == 2
    with served(data) as (program, client):
        verify_one_outcome(client, job, attempts=2)
        wait_until(lambda: list((data / "jobs").iterdir()) == [])
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(LIMIT) == 0


def test_registry_that_is_told_to_stop_ends_the_processes_of_its_jobs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with served(data) as (program, client):
        push_first(client, tmp_path / "adapter")
        job = ask(client, NAME, "hang")
        wait_for(client, job, is_hanging)
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(LIMIT) == 0
    assert find_processes(job) == []
    assert list((data / "jobs").iterdir()) == []
    with served(data, PLAIT_JOBS="0") as (_, client):
        back = look(client, job)["job"]
        assert (back["state"], back["attempts"]) == ("queued", 0)


def test_worker_that_is_killed_with_its_process_leaves_the_job_to_another_worker(
    tmp_path: Path,
) -> None:
    database = emptied_postgresql()
    with served(tmp_path / "data", PLAIT_DATABASE_URL=database, PLAIT_JOBS="0") as (_, client):
        push_first(client, tmp_path / "adapter")
        job = ask(client, NAME, "push, then hang once")
        url = str(client.base_url)
        environ = {"PLAIT_DATABASE_URL": database, "PLAIT_JOB_URL": url}
        with started("worker", "--data", str(tmp_path / "first"), **environ) as first:
            assert first.line == "delivering events, doing jobs\n"
            wait_for(client, job, is_hanging)
            pushed = log_of(client, NAME)
            for process in find_processes(job):
                os.kill(process, signal.SIGKILL)
            first.kill()
        with started("worker", "--data", str(tmp_path / "second"), **environ) as second:
            found = wait_for_end(client, job)["job"]
            second.process.send_signal(signal.SIGTERM)
            assert second.process.wait(LIMIT) == 0
        assert (found["state"], found["result"]["commit"]) == ("done", pushed[0])
        assert log_of(client, NAME) == pushed
        assert found["attempts"] in (2, 3)
        rows = succeed(client.get(f"{API}/audit", params={"subject": NAME}))["rows"]
        assert [row["action"] for row in rows].count("job.end") == 1


def test_worker_without_the_registrys_address_does_no_jobs(tmp_path: Path) -> None:
    database = emptied_postgresql()
    with (
        served(tmp_path / "data", PLAIT_DATABASE_URL=database, PLAIT_JOBS="0"),
        started("worker", "--data", str(tmp_path / "w"), PLAIT_DATABASE_URL=database) as worker,
    ):
        assert worker.line == "delivering events\n"
