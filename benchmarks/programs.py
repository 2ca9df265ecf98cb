"""Running plait's programs as a user does, with time and peak memory of each process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
LAUNCHER = Path(__file__).with_name("launch.py")
STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Measured:
    """One finished process."""

    seconds: float
    peak_mb: float
    output: str


@dataclass(frozen=True, slots=True)
class Server:
    """A running embedded registry."""

    process: subprocess.Popen[str]
    url: str
    data: Path
    log: Path

    @property
    def peak_mb(self) -> float:
        """The most resident memory that it has had, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000

    @property
    def token(self) -> str:
        """The administrator's token."""
        return (self.data / "admin.token").read_text().strip()

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment of a client of this registry with its state under `home`."""
        home.mkdir(parents=True, exist_ok=True)
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "PLAIT_URL": self.url,
            "PLAIT_TOKEN": self.token,
            "PLAIT_CACHE_DIR": str(home / "cache"),
            "PLAIT_AUTHOR_NAME": "Benchmark",
            "PLAIT_AUTHOR_EMAIL": "",
        }


@dataclass(slots=True)
class Samples:
    """The times of one thing that was measured several times."""

    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    def add(self, measured: Measured) -> None:
        """Take one more run."""
        self.seconds.append(measured.seconds)
        self.peak_mb = max(self.peak_mb, measured.peak_mb)

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return median(self.seconds)


def median(values: Sequence[float]) -> float:
    """Return the middle of some values."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[-middle - 1]) / 2


def measure(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Measured:
    """Run a command to its end, which must be a good one."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as report:
        done = subprocess.run(
            [sys.executable, "-I", "-S", LAUNCHER, str(writing), *map(str, command)],
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            pass_fds=[writing],
            check=False,
        )
        os.close(writing)
        text = report.read()
    facts = json.loads(text) if text else {"status": done.returncode}
    if facts["status"]:
        words = " ".join(map(str, command))
        raise SystemExit(f"benchmark: {words} failed: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return Measured(facts["seconds"], facts["peak_mb"], done.stdout)


@contextlib.contextmanager
def running_registry(
    folder: Path, settings: Mapping[str, str] | None = None, *, workers: int = 1
) -> Iterator[Server]:
    """Start a registry on a free port, the embedded one without `settings`; stop it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "registry.log"
    command = [BIN / "plait-registry", "serve", "--data", folder / "data", "--port", "0"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "--workers", str(workers)],
            env={**os.environ, **(settings or {})},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("listening on "):
            raise SystemExit(f"benchmark: the registry did not start: {log.read_text()}")
        yield Server(process, line.split()[-1], folder / "data", log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)
        if process.stdout:
            process.stdout.close()
