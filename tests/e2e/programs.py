"""The two programs as processes: a registry that can be killed, clients with homes of their own.

Everything that they print lands in a `Transcript`, which knows the secrets of the run: none of
them may ever be printed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = Path(sys.executable).parent
START_LIMIT = 40.0
STOP_LIMIT = 20.0

_LISTENING = re.compile(r"listening on (http://[^\s/]+:(\d+))")
_SIGNATURE = re.compile(r"signature=[0-9A-Za-z%+/_-]{16,}", re.IGNORECASE)
_FAULTS = ("Traceback (most recent call last)", "This is a bug in plait")


@dataclass
class Transcript:
    """What the programs printed, and what they should not have printed."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    """Who printed it, and what."""
    secrets: set[str] = field(default_factory=set)

    def add(self, source: str, text: str) -> None:
        """Remember an output."""
        self.texts.append((source, text))

    def find_leaks(self) -> list[str]:
        """Return one line for each output with a token or a signature in it."""
        return [
            f"{source} printed a secret: {line[:200]}"
            for source, text in self.texts
            for line in text.splitlines()
            if _SIGNATURE.search(line) or any(secret in line for secret in self.secrets)
        ]

    def find_faults(self) -> list[str]:
        """Return every output that tells of a failure which plait did not foresee."""
        return [
            f"{source}: {text[-2000:]}"
            for source, text in self.texts
            if any(fault in text for fault in _FAULTS)
        ]


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    status: int
    out: str
    err: str

    def facts(self) -> Any:
        """Return what it printed under --json."""
        return json.loads(self.out)


class Registry:
    """A `plait-registry serve` over one data folder; keeps its port over restarts."""

    def __init__(self, data: Path, transcript: Transcript, **environment: str) -> None:
        self.data = data
        self._transcript = transcript
        self._environment = environment
        self._log = data.with_name(f"{data.name}.log")
        self._seen = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.url = ""

    @property
    def token(self) -> str:
        """The admin's token, as the program wrote it."""
        return (self.data / "admin.token").read_text("utf-8").strip()

    def start(self) -> Registry:
        """Start the program and wait until it listens."""
        command = [
            PROGRAMS / "plait-registry",
            "serve",
            "--data",
            self.data,
            "--port",
            str(self.port),
        ]
        self._seen = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data.parent,
                env=bare_environment(self.data.parent, **self._environment),
            )
        match = wait_for(self._find_address, limit=START_LIMIT, what="the registry to listen")
        self.url, self.port = match[1], int(match[2])
        self._transcript.secrets.add(self.token)
        return self

    def kill(self) -> None:
        """End the program as a power cut would (SIGKILL); it may have ended already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_LIMIT)
            self._close()

    def stop(self) -> int:
        """Ask the program to end (SIGTERM) and return its exit status."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        status = process.wait(STOP_LIMIT)
        self._close()
        return status

    def restart(self) -> Registry:
        """Kill and start on the same data and port."""
        self.kill()
        return self.start()

    def log(self) -> str:
        """Return what the program printed since it was first started."""
        return self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""

    def objects(self) -> dict[str, int]:
        """Return the stored objects and documents with their sizes, as the disk has them."""
        return {
            path.name: path.stat().st_size
            for folder in ("objects", "documents/objects")
            for path in (self.data / folder / "sha256").rglob("*")
            if path.is_file()
        }

    def incoming(self) -> list[Path]:
        """Return the files of uploads under way."""
        folder = self.data / "incoming"
        return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the registry is not running")
        return self._process

    def _find_address(self) -> re.Match[str] | None:
        text = self._log.read_bytes()[self._seen :].decode("utf-8", errors="replace")
        status = self._running().poll()
        if status is not None:
            raise RuntimeError(f"plait-registry ended with {status}: {text}")
        return _LISTENING.search(text)

    def _close(self) -> None:
        self._process = None
        self._transcript.add(f"plait-registry on {self.data.name}", self.log())


class Client:
    """A person with a home, a cache and a name, who types `plait`."""

    def __init__(self, home: Path, registry: Registry, transcript: Transcript) -> None:
        self.home = home
        self.cache = home / "cache"
        self.registry = registry
        self.via: str | None = None
        """An address to use instead of the registry's own, as of a relay in front of it."""
        self._transcript = transcript
        self._running: set[subprocess.Popen[str]] = set()
        home.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        """Return the settings of this person."""
        return bare_environment(
            self.home,
            PLAIT_URL=self.via or self.registry.url,
            PLAIT_TOKEN=self.registry.token,
            PLAIT_CACHE_DIR=str(self.cache),
            PLAIT_AUTHOR_NAME=self.home.name,
            PLAIT_AUTHOR_EMAIL=f"{self.home.name}@example.org",
        )

    def start(self, *words: object, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start `plait` without waiting for it; pass what becomes of it to `finish`."""
        process = subprocess.Popen(
            [str(PROGRAMS / "plait"), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd or self.home,
            env=self.environment(),
        )
        self._running.add(process)
        return process

    def finish(self, process: subprocess.Popen[str], *, limit: float = 90.0) -> Outcome:
        """Wait for a started program."""
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        finally:
            self._running.discard(process)
        self._transcript.add(f"plait of {self.home.name}", out + err)
        return Outcome(process.returncode, out, err)

    def close(self) -> None:
        """End what a failed test left running."""
        for process in list(self._running):
            process.kill()
            self.finish(process)

    def try_run(self, *words: object, cwd: Path | None = None, limit: float = 90.0) -> Outcome:
        """Run `plait` to its end, whatever that is."""
        return self.finish(self.start(*words, cwd=cwd), limit=limit)

    def run(self, *words: object, cwd: Path | None = None, limit: float = 90.0) -> str:
        """Run `plait`, which must succeed, and return what it printed."""
        outcome = self.try_run(*words, cwd=cwd, limit=limit)
        assert outcome.status == 0, f"plait {words} ended with {outcome}"
        return outcome.out

    def facts(self, *words: object, cwd: Path | None = None, limit: float = 90.0) -> Any:
        """Run `plait ... --json`, which must succeed, and return what it printed."""
        return json.loads(self.run(*words, "--json", cwd=cwd, limit=limit))

    def refusal(self, *words: object, cwd: Path | None = None) -> dict[str, Any]:
        """Run `plait ... --json`, which must refuse with exit status 1, and return the error."""
        outcome = self.try_run(*words, "--json", cwd=cwd)
        assert outcome.status == 1, f"plait {words} ended with {outcome}"
        return read_refusal(outcome)


def read_refusal(outcome: Outcome) -> dict[str, Any]:
    """Return the error that a program printed under --json: its kind, message and details."""
    for text in (outcome.out, outcome.err):
        start = text.find("{")
        if start >= 0:
            error: dict[str, Any] = json.loads(text[start:])["error"]
            assert error["message"], outcome
            return error
    raise AssertionError(f"no error under --json: {outcome}")


def bare_environment(home: Path, **settings: str) -> dict[str, str]:
    """Return an environment with nothing of the tester's own in it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **settings}


def wait_for(find: Callable[[], Any], *, limit: float, what: str) -> Any:
    """Return the first true answer of `find`, asked again and again."""
    deadline = time.monotonic() + limit
    while True:
        found = find()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit} s for {what}")
        time.sleep(0.002)


def digest_tree(
    folder: Path, *, skip: Mapping[str, object] | frozenset[str] = frozenset()
) -> dict[str, bytes]:
    """Return the bytes of every file of a folder by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in skip
    }
