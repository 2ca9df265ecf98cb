"""plait, DVC and MLflow, each doing the same with one adapter on the same S3 server.

Every step is a process of its own, start-up included, as a person or a training job runs it.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from adapters import WEIGHTS
from programs import BIN, Measured, Server, measure
from typing_extensions import override

from served.s3 import S3Server

PEERS = Path(__file__).parent.parent / ".venv-peers" / "bin"
MLFLOW_STEP = Path(__file__).with_name("mlflow_step.py")


class Tool(Protocol):
    """A tool that keeps versions of a folder in a bucket."""

    name: str
    bucket: str

    def push(self) -> Measured:
        """Publish the adapter as it is now."""

    def pull_fresh(self) -> tuple[Measured, Path]:
        """Fetch the newest version onto a machine that has nothing; return its weights."""

    def pull_again(self) -> Measured:
        """Fetch the same once more."""


@dataclass
class Plait(Tool):
    """One repository of a running registry."""

    server: Server
    home: Path
    adapter: Path
    repository: str
    bucket: str
    name: str = "plait"

    @override
    def push(self) -> Measured:
        words = ["push", self.adapter, self.repository, "-m", "version", "--create"]
        return self._run(*words)

    @override
    def pull_fresh(self) -> tuple[Measured, Path]:
        measured = self._run("pull", self.repository)
        return measured, Path(measured.output.strip()) / WEIGHTS

    @override
    def pull_again(self) -> Measured:
        return self._run("pull", self.repository)

    def _run(self, *words: str | Path) -> Measured:
        return measure([BIN / "plait", *words], self.server.environment(self.home))


@dataclass
class Dvc(Tool):
    """A project without git, whose cache and remote belong to it alone."""

    s3: S3Server
    home: Path
    adapter: Path
    bucket: str
    name: str = "DVC"

    def __post_init__(self) -> None:
        self.s3.create_bucket(self.bucket)
        shutil.copytree(self.adapter, self.home / "project" / "adapter")
        self._configure("project")

    @override
    def push(self) -> Measured:
        # What is measured is DVC's own part: the copy stands for a training that wrote there.
        shutil.copyfile(self.adapter / WEIGHTS, self.home / "project" / "adapter" / WEIGHTS)
        return self._run("dvc add --quiet adapter && dvc push --quiet")

    @override
    def pull_fresh(self) -> tuple[Measured, Path]:
        clone = self._configure("clone")
        shutil.copyfile(self.home / "project" / "adapter.dvc", clone / "adapter.dvc")
        return self._run("dvc pull --quiet", "clone"), clone / "adapter" / WEIGHTS

    @override
    def pull_again(self) -> Measured:
        return self._run("dvc pull --quiet", "clone")

    def _configure(self, folder: str) -> Path:
        """Do what `dvc init`, `dvc config` and `dvc remote` do, without their start-ups."""
        place = self.home / folder
        (place / ".dvc").mkdir(parents=True)
        (place / ".dvc" / "config").write_text(
            "[core]\n    analytics = false\n    no_scm = true\n    remote = s3\n"
            f"['remote \"s3\"']\n    url = s3://{self.bucket}/dvc\n"
            f"    endpointurl = {self.s3.endpoint}\n"
        )
        return place

    def _run(self, command: str, folder: str = "project") -> Measured:
        environment = {**peer_environment(self.s3, self.home), "DVC_NO_ANALYTICS": "1"}
        # Root's own folders for all users are the machine's; DVC wants to write there.
        environment["DVC_SITE_CACHE_DIR"] = str(self.home / f"site-{folder}")
        return measure(["sh", "-c", command], environment, self.home / folder)


@dataclass
class Mlflow(Tool):
    """An experiment whose runs are recorded in a local file, and their artifacts in the bucket."""

    s3: S3Server
    home: Path
    adapter: Path
    bucket: str
    name: str = "MLflow"
    _runs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.s3.create_bucket(self.bucket)
        self.home.mkdir(parents=True)
        self._run("create", self.bucket)

    @override
    def push(self) -> Measured:
        measured = self._run("push", self.adapter)
        self._runs.append(measured.output.split()[-1])
        return measured

    @override
    def pull_fresh(self) -> tuple[Measured, Path]:
        return self.pull_again(), self.home / "pulled" / "adapter" / WEIGHTS

    @override
    def pull_again(self) -> Measured:
        return self._run("pull", self._runs[-1], self.home / "pulled")

    def _run(self, *words: str | Path) -> Measured:
        environment = {
            **peer_environment(self.s3, self.home),
            "MLFLOW_S3_ENDPOINT_URL": self.s3.endpoint,
            "MLFLOW_TRACKING_URI": f"file:{self.home / 'runs'}",
            # Lighter than the database that it asks for otherwise.
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }
        return measure([PEERS / "python", MLFLOW_STEP, *words], environment, self.home)


def peer_environment(s3: S3Server, home: Path) -> dict[str, str]:
    """Return what both peers need to reach the server, and nothing of the user's."""
    return {
        "PATH": f"{PEERS}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_DEFAULT_REGION": s3.region,
    }


def verify_installed() -> None:
    """End with advice where the peers' environment is missing."""
    if not (PEERS / "dvc").exists():
        sys.exit("benchmark: DVC and MLflow are not installed: `make bench-peers` does that.")
