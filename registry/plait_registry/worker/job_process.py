"""The process that does one job, as whoever started it sees it.

It gets its token in its environment, never among its arguments, which every user of the machine can
read. It holds the other end of a pipe: when that closes, whoever started it is gone, and it ends.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from plait.errors import Unavailable
from plait_registry.settings import Settings, build_job_environment
from plait_registry.worker.job_folder import JobFolder
from plait_registry.worker.job_loop import Claim

COMMAND = (sys.executable, "-P", "-m", "plait_registry.worker.run_job")
"""With -P nothing is imported from the folder that it works in, where files of others lie."""
LARGEST_OUTPUT = 8_000
"""Bytes of what a process printed that are kept: the last ones."""
PATIENCE_S = 3.0
"""How long a process that is told to stop may take."""


class JobProcess:
    """A process that runs, or has ended."""

    def __init__(self, process: subprocess.Popen[bytes], folder: JobFolder) -> None:
        self._process = process
        self._folder = folder
        self._output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """The end of what it printed."""
        return self._output.decode("utf-8", "replace")

    def wait(self, seconds: float) -> int | None:
        """Return its exit status, negative for a signal; None where it runs on after so long."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End it, if need be by force."""
        self._process.terminate()
        if self.wait(PATIENCE_S) is None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Take leave of a process that has ended: nothing of it stays."""
        self._reader.join(PATIENCE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._folder.remove()

    def _read(self) -> None:
        source: IO[bytes] | None = self._process.stdout
        while source is not None and (piece := source.read1(LARGEST_OUTPUT)):  # type: ignore[attr-defined]
            self._output = (self._output + piece)[-LARGEST_OUTPUT:]


@dataclass(frozen=True, slots=True)
class JobLauncher:
    """Starts processes of jobs."""

    settings: Settings
    url: str
    """Where they reach the registry."""
    command: Sequence[str] = COMMAND

    @property
    def root(self) -> Path:
        """Where their folders are."""
        return self.settings.data.absolute() / "jobs"

    def __call__(self, claimed: Claim) -> JobProcess:
        """Start the process of a job.

        Raises:
            Unavailable: it cannot be started.
        """
        folder = JobFolder.make(self.root)
        environment = build_job_environment(
            self.settings, folder.path, url=self.url, token=claimed.token
        )
        try:
            process = subprocess.Popen(  # noqa: S603 - this program's own module
                [*self.command, claimed.held.id],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder.path,
                env=environment,
                pass_fds=[folder.lock],
                # Ctrl+C is for who started this program, which then tells its processes.
                start_new_session=True,
            )
        except OSError as error:
            folder.remove()
            raise Unavailable(
                "unavailable", f"The process of a job cannot be started: {error.strerror}."
            ) from error
        return JobProcess(process, folder)
