"""A real registry in a process of its own, for everything that speaks HTTP.

One serves the whole session: a test takes repository names of its own from `repository_name`.
"""

import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import plait
from plait.registry import Registry

START_SECONDS = 40.0
_LISTENING = re.compile(r"listening on (http://\S+)")


@dataclass(frozen=True)
class RegistryServer:
    """A registry that listens."""

    url: str
    token: str
    """The administrator's."""
    data: Path


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """Start `plait-registry serve` on a free port over an empty folder, and stop it at the end."""
    data = tmp_path_factory.mktemp("registry") / "data"
    log = data.with_suffix(".log")
    program = Path(sys.executable).with_name("plait-registry")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", "--data", data, "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=data.parent,
        )
    try:
        url = _wait_for_address(process, log)
        token = (data / "admin.token").read_text("utf-8").strip()
        yield RegistryServer(url, token, data)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


@pytest.fixture
def registry(registry_server: RegistryServer, tmp_path: Path) -> Iterator[Registry]:
    """Connect to the server with a cache of the test's own."""
    with plait.connect(
        registry_server.url, token=registry_server.token, cache_dir=tmp_path / "cache"
    ) as registry:
        yield registry


@pytest.fixture
def repository_name() -> Callable[[], str]:
    """Return a maker of repository names that no other test has."""
    return lambda: f"tests/r-{uuid.uuid4().hex[:12]}"


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        match = _LISTENING.search(log.read_text("utf-8", errors="replace"))
        if match:
            return match[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"The registry did not start:\n{log.read_text('utf-8', errors='replace')[-4000:]}")
