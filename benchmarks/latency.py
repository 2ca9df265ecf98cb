"""How long the small things take: start-up of the client, and a push with nothing new.

    python benchmarks/latency.py [--runs 15]

`plait --version` and `plait log` (in a working copy) against a bare `python -c pass`, in turn; and
the registry's own time for a push with nothing new, summed over its requests as its log states it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from machine import describe
from programs import Samples, Server, measure, running_registry

ADAPTER = Path(__file__).parent.parent / "examples" / "micro" / "adapters" / "cpp" / "v3"
LIMITS = {"plait --version": 3.0, "plait log": 8.0}
NOTHING_NEW_LIMIT_MS = 20.0


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    print(describe("plait", "httpx", "uvicorn", "sqlalchemy"))
    with tempfile.TemporaryDirectory(prefix="plait-bench-") as name:
        root = Path(name)
        with running_registry(root / "registry") as server:
            environment = server.environment(root / "home")
            measure(
                ["plait", "push", ADAPTER, "bench/micro", "-m", "first", "--create"], environment
            )
            measure(["plait", "clone", "bench/micro", root / "work"], environment)
            report_start(runs, environment, root / "work")
            report_nothing_new(runs, server, environment)


def report_start(runs: int, environment: dict[str, str], work: Path) -> None:
    """Print how long commands take that need no registry."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "plait --version": ["plait", "--version"],
        "plait log": ["plait", "log"],
    }
    samples = {name: Samples() for name in commands}
    for _ in range(runs + 1):
        for name, command in commands.items():
            samples[name].add(measure(command, environment, work))
    bare = samples["python -c pass"].median
    print(f"\n| command | median of {runs + 1} | ratio | limit |\n|---|---|---|---|")
    for name, sample in samples.items():
        limit = LIMITS.get(name)
        print(
            f"| `{name}` | {sample.median * 1000:.0f} ms | {sample.median / bare:.1f} "
            f"| {limit or '-'} |"
        )


def report_nothing_new(runs: int, server: Server, environment: dict[str, str]) -> None:
    """Print the registry's time for a push whose version it has."""
    totals, requests = [], 0
    for _ in range(runs):
        before = len(server.log.read_text().splitlines())
        output = measure(
            ["plait", "push", ADAPTER, "bench/micro", "-m", "again", "--json"], environment
        ).output
        if json.loads(output)["bytes_sent"] != 0:
            raise SystemExit("benchmark: a push with nothing new sent bytes")
        lines = [json.loads(line) for line in server.log.read_text().splitlines()[before:]]
        spent = [line["milliseconds"] for line in lines if "milliseconds" in line]
        totals.append(sum(spent))
        requests = len(spent)
    totals.sort()
    print(
        f"\nA push with nothing new: {requests} requests, no file bytes, "
        f"{totals[len(totals) // 2]:.1f} ms of the registry's time (median of {runs}; "
        f"limit {NOTHING_NEW_LIMIT_MS:.0f})"
    )


if __name__ == "__main__":
    main()
