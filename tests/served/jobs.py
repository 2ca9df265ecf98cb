"""A registry that has jobs done by real processes, which do what a test tells them to."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from plait_registry.settings import Settings, read_settings
from plait_registry.worker.job_loop import JobLoop
from plait_registry.worker.job_process import COMMAND, JobLauncher
from served.accounts import API, succeed
from served.running import Running

TESTS = Path(__file__).resolve().parents[1]
FAKE = (sys.executable, "-m", "served.job_child")
"""Does what the message of the commit says."""
REAL = COMMAND
LIMIT = 60.0


def settings_of(server: Running, **environ: str) -> Settings:
    """Return the settings for jobs of a registry."""
    return read_settings({"DATA": str(server.folder.root)}, environ)


@contextmanager
def doing_jobs(
    server: Running, *, command: tuple[str, ...] = FAKE, processes: int = 1, **environ: str
) -> Iterator[JobLoop]:
    """Have the jobs of a registry done during a block; PYTHONPATH has to lead to `tests`."""
    settings = settings_of(server, **environ)
    launch = JobLauncher(settings, server.url, command)
    seconds = settings.jobs.seconds
    loop = JobLoop(server.registry.jobs, launch, seconds=seconds, idle_s=0.05, pause_s=0.05)
    loop.start(processes)
    try:
        yield loop
    finally:
        loop.stop(LIMIT)


def ask(client: httpx.Client, repository: str, wish: str, **more: Any) -> str:
    """Ask for a composition whose process does what `wish` says; return the job's id."""
    recipe = {
        "format": "plait.recipe/1",
        "method": "concat",
        "inputs": [{"adapter": repository, "revision": "main"}],
    }
    body = {"recipe": recipe, "branch": "blend", "message": wish, **more}
    made = succeed(client.post(f"{API}/repositories/{repository}/compositions", json=body))
    return str(made["job"]["id"])


def look(client: httpx.Client, job: str) -> dict[str, Any]:
    """Return a job with what is inside."""
    found: dict[str, Any] = succeed(client.get(f"{API}/jobs/{job}"))
    return found


def wait_for(
    client: httpx.Client, job: str, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the job when it is as a test wants it."""
    deadline = time.monotonic() + LIMIT
    while True:
        found = look(client, job)
        if condition(found["job"]):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def wait_for_end(client: httpx.Client, job: str) -> dict[str, Any]:
    """Return a job that has ended."""
    return wait_for(client, job, lambda found: found["state"] not in ("queued", "running"))


def is_hanging(job: dict[str, Any]) -> bool:
    """Tell whether a job's process hangs."""
    return bool(job["state"] == "running" and job["progress"]["what"] == "Hanging")


def log_of(client: httpx.Client, repository: str, branch: str = "blend") -> list[str]:
    """Return the commits of a branch, newest first."""
    url = f"{API}/repositories/{repository}/commits"
    page = succeed(client.get(url, params={"revision": branch}))
    return [str(item["id"]) for item in page["commits"]]


def find_processes(job: str) -> list[int]:
    """Return the processes that do a job now, by what everybody can read of processes."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if job.encode() in words:
            found.append(int(folder.name))
    return found
