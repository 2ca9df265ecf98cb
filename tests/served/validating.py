"""A registry with versions of the shipped adapters, and workers of it that are programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from plait.algebra import kernels
from plait.fingerprint import fingerprint_base
from plait.http_transport import HttpTransport
from plait.merge import MergeOptions, MergeSource, merge
from plait.model.address import RepositoryName
from plait.model.commit import Base, Person
from plait.model.ids import CommitId, ObjectId
from plait.push_folder import FolderPush, push_folder
from served.accounts import API, People, peopled, succeed
from served.jobs import TESTS

KERNELS = Path(kernels.__file__).parent / "__pycache__"
"""Where this process keeps them, too, so that what it compiled no worker compiles again."""
REAL = (str(Path(sys.executable).with_name("plait-registry")),)
HANGING = (sys.executable, "-m", "served.job_programs")
"""The same, with processes of jobs whose first attempts hang."""


@dataclass
class Place:
    """A registry with versions of the shipped adapters."""

    people: People
    micro: Path
    fingerprint: ObjectId

    @property
    def client(self) -> httpx.Client:
        return self.people.admin

    def push(self, name: str, adapter: str, *, base: ObjectId | None = None) -> CommitId:
        """Push an adapter that names its base by its fingerprint."""
        with closing(HttpTransport(self.people.server.url, self.people.server.token)) as transport:
            wish = FolderPush(
                folder=self.micro / "adapters" / adapter,
                message="First",
                author=Person("Ada", ""),
                time="2026-11-24T06:07:00Z",
                base=Base("plait/micro-base", None, base or self.fingerprint),
                create=True,
            )
            return push_folder(transport, RepositoryName.parse(name), wish).commit

    def ask(self, name: str, **more: Any) -> str:
        body = {"revision": "main", **more}
        made = succeed(self.client.post(f"{API}/repositories/{name}/validations", json=body))
        return str(made["job"]["id"])

    def validations(self, name: str, commit: CommitId) -> list[dict[str, Any]]:
        """Return the documents that are recorded of a commit, newest first."""
        url = f"{API}/repositories/{name}/commits/{commit}/validations"
        return [row["validation"] for row in succeed(self.client.get(url))["validations"]]

    @contextmanager
    def worker(
        self, folder: Path, *words: str, program: Sequence[str] = REAL
    ) -> Iterator[subprocess.Popen[str]]:
        """Run a worker, which has neither database nor keys, until the end of the block."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environ = {
            **kept,
            "PYTHONPATH": str(TESTS),
            "PLAIT_WORKER_TOKEN": self.people.token("gpu", "*:work"),
            "PLAIT_DATA": str(folder),
            "NUMBA_CACHE_DIR": str(KERNELS),
        }
        command = [*program, "worker", "--url", self.people.server.url]
        with subprocess.Popen(
            [*command, "--bases", str(self.micro), "--device", "cpu", *words],
            stdout=subprocess.PIPE,
            env=environ,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline().startswith("doing validations for http")
                yield process
            finally:
                process.kill()


@contextmanager
def placed(data: Path, micro: Path) -> Iterator[Place]:
    """Serve a registry whose workers are called `gpu`."""
    # A first merge compiles kernels, which takes longer than tests wait for a worker.
    source = MergeSource("cpp", micro / "adapters" / "cpp" / "v1")
    merge([source], MergeOptions(micro / "base", device="cpu", measure=True))
    with peopled(data, ("team",)) as people:
        people.add("gpu", admin=True)
        yield Place(people, micro, fingerprint_base(micro / "base"))


def read_golden_merges() -> dict[str, Any]:
    """Return what merges gave on an H100, by adapter."""
    path = TESTS.parents[1] / "shared" / "data" / "golden-merge-fp64-v1.json"
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{path.name} beside the checkout")
    merged: dict[str, Any] = json.loads(path.read_text())["merged"]
    return merged
