"""Several workers on one socket, as real processes: killed, replaced, stopped, orphaned."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from served.running import wait_until

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 30


@dataclass(frozen=True)
class Crew:
    """A parent and its workers."""

    process: subprocess.Popen[str]
    url: str

    def ask(self, seconds: float = 0) -> int:
        """Return the id of the process that answers a connection of its own."""
        return int(httpx.get(f"{self.url}/?{seconds}", timeout=LIMIT).text)

    def pids(self) -> set[int]:
        """Return the processes that the parent has now."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in children.read_text().split()}

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(LIMIT)


@contextmanager
def crew(count: int, failing: Path | None = None) -> Iterator[Crew]:
    command = [sys.executable, "-m", "served.crew", str(count)]
    if failing is not None:
        command.append(str(failing))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    running = Crew(process, "")
    try:
        first = running.read_line()
        yield Crew(process, first.partition("listening on ")[2])
    finally:
        # Workers see that their parent is gone.
        process.kill()
        process.communicate()


def is_gone(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return True


def test_all_workers_answer_when_the_parent_says_so() -> None:
    with crew(3) as running:
        workers = running.pids()
        assert len(workers) == 3
        assert running.process.pid not in workers
        assert {running.ask() for _ in range(60)} <= workers


def test_killed_worker_is_replaced_while_the_others_answer() -> None:
    with crew(2) as running:
        killed, other = sorted(running.pids())
        os.kill(killed, signal.SIGKILL)
        assert killed not in {running.ask() for _ in range(20)}
        assert running.read_line() == f"gone {killed}"
        wait_until(lambda: len(running.pids()) == 2)
        (fresh,) = running.pids() - {other}
        wait_until(lambda: running.ask() == fresh)
        assert running.stop() == 0


def test_workers_that_die_again_and_again_are_started_with_growing_pauses(tmp_path: Path) -> None:
    failing = tmp_path / "failing"
    with crew(2, failing) as running:
        failing.touch()
        os.kill(min(running.pids()), signal.SIGKILL)
        deaths: list[float] = []
        for _ in range(4):
            assert running.read_line().startswith("gone ")
            deaths.append(time.monotonic())
        pauses = [later - sooner for sooner, later in pairwise(deaths)]
        assert pauses[0] > 0.4
        assert pauses[2] > 1.5 * pauses[1] > 2 * pauses[0]
        failing.unlink()
        wait_until(lambda: len({running.ask() for _ in range(20)}) == 2)


def test_request_under_way_is_finished_when_the_parent_is_stopped() -> None:
    with crew(2) as running:
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(running.ask(1.0)))
        asking.start()
        time.sleep(0.3)
        workers = running.pids()
        assert running.stop() == 0
        asking.join(LIMIT)
        assert set(answers) <= workers
        assert len(answers) == 1
        with pytest.raises(httpx.ConnectError):
            running.ask()
        assert all(is_gone(pid) for pid in workers)


def test_interrupt_stops_the_workers_as_well() -> None:
    with crew(2) as running:
        assert running.stop(signal.SIGINT) == 0


def test_worker_that_does_not_stop_in_time_is_killed() -> None:
    with crew(2) as running:
        (stuck, _) = running.pids()
        os.kill(stuck, signal.SIGSTOP)
        begun = time.monotonic()
        assert running.stop() == 0
        assert 5 < time.monotonic() - begun < 15
        assert is_gone(stuck)


def test_workers_stop_when_their_parent_is_killed() -> None:
    with crew(2) as running:
        workers = running.pids()
        running.process.kill()
        running.process.wait(LIMIT)
        wait_until(lambda: all(is_gone(pid) for pid in workers))


def test_first_worker_that_cannot_start_ends_the_program_with_its_status(tmp_path: Path) -> None:
    failing = tmp_path / "failing"
    failing.touch()
    with crew(3, failing) as running:
        assert running.process.wait(LIMIT) == 3
        assert running.url == ""
        assert running.read_line() == ""
