"""Running plait's programs as a user does, with time and peak memory of each process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BIN = Path(sys.executable).parent
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

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment of a client of this registry with its state under `home`."""
        home.mkdir(parents=True, exist_ok=True)
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "PLAIT_URL": self.url,
            "PLAIT_TOKEN": (self.data / "admin.token").read_text().strip(),
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
        ordered = sorted(self.seconds)
        middle = len(ordered) // 2
        return (ordered[middle] + ordered[-middle - 1]) / 2


def measure(
    command: Sequence[str | Path],
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Measured:
    """Run a command to its end, which must be a good one."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, errors = process.stdout, process.stderr
    if output is None or errors is None:
        raise SystemExit("benchmark: no pipe")
    text, complaint = output.read(), errors.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    output.close()
    errors.close()
    if process.returncode:
        raise SystemExit(f"benchmark: {' '.join(map(str, command))} failed: {complaint}")
    return Measured(seconds, usage.ru_maxrss / 1000, text)


@contextlib.contextmanager
def running_registry(folder: Path) -> Iterator[Server]:
    """Start the embedded registry on a free port, and stop it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "registry.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [BIN / "plait-registry", "serve", "--data", folder / "data", "--port", "0"],
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
