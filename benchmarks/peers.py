"""plait beside DVC 3 and MLflow 3, on one S3 server, in one run.

    PYTHONPATH=tests python benchmarks/peers.py [--size 84] [--runs 5] [--no-embedding]

In turn, several times: push an adapter, push it again unchanged, push a version in which one tensor
in eight changed, pull that onto a machine that has nothing, and pull it again. DVC's push is
`dvc add` and `dvc push`; MLflow's is `log_artifacts` in a run that is recorded in a local file,
without a tracking server. plait's go through a registry on PostgreSQL that verifies all bytes.
Then what the bucket grows by: for one tensor in eight, and for an adapter with a copy of the
embedding, 0.9 GB, that stays the same while all of the rest changes.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from adapters import WEIGHTS, change_tensors, remove, verify_equal, write_adapter
from machine import describe
from peer_tools import PEERS, Dvc, Mlflow, Plait, Tool, verify_installed
from programs import Measured, Samples, Server, running_registry
from services import Services, running_services

STEPS = ("push", "push again", "push 1/8 changed", "pull fresh", "pull again")
EMBEDDING = 900
ONE_IN = 8
ROOM = "plait-peers"

Samplings = dict[str, dict[str, Samples]]
"""By tool and step."""


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=84, metavar="MB")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-embedding", action="store_true", help="leave out the last part")
    arguments = parser.parse_args()
    verify_installed()
    print(describe("plait", "uvicorn", "psycopg"), "; ".join(("", *versions())), sep="")
    with (
        tempfile.TemporaryDirectory(prefix="plait-bench-") as name,
        running_services() as services,
        running_registry(Path(name) / "registry", services.make_room(ROOM)) as server,
    ):
        bench = Bench(Path(name), services, server)
        bench.report_steps(arguments.size, arguments.runs)
        if not arguments.no_embedding:
            bench.report_embedding(arguments.size)


class Bench:
    """The servers of one run, and a folder for all that is made."""

    def __init__(self, root: Path, services: Services, server: Server) -> None:
        self._root = root
        self._services = services
        self._server = server
        self._numbers = 0

    def report_steps(self, size: int, runs: int) -> None:
        """Measure and print the five steps, and what one tensor in eight costs in the bucket."""
        adapter = self._root / "adapter"
        write_adapter(adapter, size * 1_000_000)
        taken: Samplings = {}
        grown: dict[str, int] = {}
        changed = 0
        for run in range(runs + 1):
            tools = self._make_tools(adapter)
            change_tensors(adapter / WEIGHTS, seed=2 * run)
            before = [tool.push() for tool in tools]
            again = [tool.push() for tool in tools]
            stored = [self._stored(tool) for tool in tools]
            changed = change_tensors(adapter / WEIGHTS, seed=2 * run + 1, one_in=ONE_IN)
            second = [tool.push() for tool in tools]
            for tool, size_before in zip(tools, stored, strict=True):
                grown[tool.name] = self._stored(tool) - size_before
            fresh = [self._pull_fresh(tool, adapter) for tool in tools]
            last = [tool.pull_again() for tool in tools]
            if run:  # the first warms up the registry, and the file system's cache of all programs
                for number, tool in enumerate(tools):
                    steps = taken.setdefault(tool.name, {step: Samples() for step in STEPS})
                    for step, results in zip(
                        STEPS, (before, again, second, fresh, last), strict=True
                    ):
                        steps[step].add(results[number])
            self._clear(tools)
        print_steps(taken, size, runs)
        print_growth(f"one tensor in {ONE_IN} of {size} MB changed", changed, grown)

    def report_embedding(self, size: int) -> None:
        """Print what the bucket grows by when a large tensor stays and the others change."""
        adapter = self._root / "large"
        write_adapter(adapter, size * 1_000_000, embedding=EMBEDDING * 1_000_000)
        tools = self._make_tools(adapter)
        grown: dict[str, int] = {}
        for tool in tools:
            tool.push()
        changed = change_tensors(adapter / WEIGHTS, seed=1)
        for tool in tools:
            before = self._stored(tool)
            tool.push()
            grown[tool.name] = self._stored(tool) - before
        self._clear(tools)
        print_growth(f"{size} MB changed beside an embedding of {EMBEDDING} MB", changed, grown)

    def _make_tools(self, adapter: Path) -> Sequence[Tool]:
        self._numbers += 1
        number = self._numbers
        home = self._root / f"home-{number}"
        s3 = self._services.s3
        return (
            Plait(self._server, home / "plait", adapter, f"bench/peers-{number}", ROOM),
            Dvc(s3, home / "dvc", adapter, f"dvc-{number}"),
            Mlflow(s3, home / "mlflow", adapter, f"mlflow-{number}"),
        )

    def _pull_fresh(self, tool: Tool, adapter: Path) -> Measured:
        measured, weights = tool.pull_fresh()
        verify_equal(adapter / WEIGHTS, weights)
        return measured

    def _stored(self, tool: Tool) -> int:
        return self._services.stored_bytes(tool.bucket)

    def _clear(self, tools: Sequence[Tool]) -> None:
        for tool in tools:
            self._services.remove_weights(tool.bucket)
        remove(self._root / f"home-{self._numbers}")


def print_steps(taken: Samplings, size: int, runs: int) -> None:
    """Print a row a step, a column a tool."""
    names = list(taken)
    print(f"\nmedians of {runs} runs at {size} MB; in brackets, how many times plait's\n")
    print("| step | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for step in STEPS:
        own = taken[names[0]][step].median
        cells = [
            f"{taken[n][step].median:.2f} s ({taken[n][step].median / own:.1f})" for n in names
        ]
        print(f"| {step} | " + " | ".join(cells) + " |", flush=True)


def print_growth(what: str, changed: int, grown: dict[str, int]) -> None:
    """Print what the bucket grew by."""
    cells = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in grown.items())
    print(f"\nstored anew for {what} ({changed / 1e6:.1f} MB of tensors): {cells}", flush=True)


def versions() -> list[str]:
    """Return the versions of the peers."""
    frozen = subprocess.run(
        [PEERS / "python", "-m", "pip", "freeze"], capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = ("dvc==", "dvc-s3==", "mlflow-skinny==", "s3fs==", "boto3==")
    return [line.replace("==", " ") for line in frozen if line.startswith(wanted)]


if __name__ == "__main__":
    main()
