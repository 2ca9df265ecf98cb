"""A real S3 server on loopback: OpenStack Swift with its S3 API, from `.venv-swift`.

It checks `x-amz-checksum-sha256` and `If-None-Match`, and keeps its data in a folder of its own
over `stop` and `start`. What it wrote to its log is shown when it does not come up.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.config import Config

from plait_registry.adapters.s3_location import S3Location

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = CHECKOUT / ".venv-swift" / "bin" / "python"
ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"
REGION = "us-east-1"
START_LIMIT = 60.0
STOP_LIMIT = 20.0
MOST_STARTS = 3
_PORTS = range(20_000, 32_000)
"""Below those that a system gives to outgoing connections: a stopped server gets its port back."""


class S3Server:
    """A Swift that can be taken away and brought back with its data."""

    def __init__(self, folder: Path) -> None:
        self.access_key = ACCESS_KEY
        self.secret_key = SECRET_KEY
        self.region = REGION
        self._folder = folder
        folder.mkdir(parents=True)
        self._log = folder / "swift.log"
        self._ports = _find_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self._buckets = itertools.count(1)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def port(self) -> int:
        return self._ports[0]

    def start(self) -> None:
        """Start the server, and return when it answers."""
        if not PYTHON.exists():
            raise FileNotFoundError(f"{PYTHON} is missing: `make setup-dev` makes it.")
        command = [PYTHON, CHECKOUT / "tests" / "served" / "swift_launcher.py", self._folder]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *map(str, self._ports)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_LIMIT
        for port in self._ports:
            while not _answers(port):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise TimeoutError(f"Swift does not start:\n{self.read_log()[-4_000:]}")
                time.sleep(0.05)

    def stop(self) -> None:
        """Take the server away; its data stay."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def client(self) -> Any:
        """Return a boto3 client, the same each time: making one takes long."""
        if self._client is None:
            self._client = make_client(self.endpoint)
        return self._client

    def create_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name)

    def new_bucket(self) -> str:
        """Create a bucket that no other test knows, and return its name."""
        name = f"bucket-{next(self._buckets)}"
        self.create_bucket(name)
        return name

    def object_store_url(self, bucket: str, *, endpoint: str | None = None) -> str:
        """Return the value of PLAIT_OBJECT_STORE; a proxy in front is another `endpoint`."""
        where = quote(endpoint or self.endpoint, safe="")
        return f"s3://{bucket}?endpoint={where}&region={REGION}&addressing=path"

    def location(self, bucket: str, *, prefix: str = "", endpoint: str | None = None) -> S3Location:
        """Return the bucket as the adapters want it."""
        return S3Location(
            bucket=bucket,
            prefix=prefix,
            endpoint=endpoint or self.endpoint,
            region=REGION,
            addressing="path",
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
        )

    def environment(self, bucket: str, *, endpoint: str | None = None) -> dict[str, str]:
        """Return the settings by which a registry keeps its objects in the bucket."""
        return {
            "PLAIT_OBJECT_STORE": self.object_store_url(bucket, endpoint=endpoint),
            "PLAIT_S3_ACCESS_KEY": ACCESS_KEY,
            "PLAIT_S3_SECRET_KEY": SECRET_KEY,
        }

    def read_log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


def make_client(endpoint: str) -> Any:
    """Return a boto3 client of a test server."""
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        retries={"mode": "standard", "max_attempts": 3},
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=config,
    )


@contextmanager
def s3_server(folder: Path | None = None) -> Generator[S3Server]:
    """Start a server, in a temporary folder unless one is given, and stop it at the end."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plait-s3-")))
        server = _start_one(folder)
        stack.callback(server.stop)
        yield server


@cache
def shared_s3_server() -> S3Server:
    """Return the one server of this process: starting one takes seconds. Ask for new buckets."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(s3_server())


def _start_one(folder: Path) -> S3Server:
    """Return a server that runs; another program may take a port that was just seen free."""
    for number in range(1, MOST_STARTS + 1):
        server = S3Server(folder / f"swift-{number}")
        try:
            server.start()
            return server
        except TimeoutError:
            if number == MOST_STARTS:
                raise
    raise AssertionError("unreachable")


def _find_ports(count: int) -> list[int]:
    chosen: list[int] = []
    generator = random.SystemRandom()
    while len(chosen) < count:
        port = generator.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in chosen:
            chosen.append(port)
    return chosen


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
