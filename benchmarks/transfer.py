"""Push and pull of whole adapters on the embedded registry, against `sha256sum` plus `cp`.

    python benchmarks/transfer.py [--sizes 84 336 1000] [--runs 3]

For each size an adapter of random bf16 factors is made. In turn, several times, so that the
machine's moods meet all alike: `sha256sum` and `cp` of the file; `plait push` of the folder to an
empty repository; `plait pull` of it into an empty cache. Every push and pull is a process of its
own, start-up included. What was pulled is compared with what was pushed.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from adapters import WEIGHTS, remove, verify_equal, write_adapter
from machine import describe
from programs import Samples, Server, measure, running_registry

TARGET_RATIO = 2.0
TARGET_MB = 150.0


@dataclass(slots=True)
class Row:
    """What was measured at one size."""

    baseline: Samples = field(default_factory=Samples)
    push: Samples = field(default_factory=Samples)
    pull: Samples = field(default_factory=Samples)
    server_mb: float = 0.0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[84, 336, 1000], metavar="MB")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(describe("plait", "httpx", "uvicorn", "sqlalchemy"))
    print(f"medians of {arguments.runs} runs; ratios against sha256sum + cp of the same file\n")
    print("| size | sha256sum + cp | push | ratio | pull | ratio | client peak | server peak |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="plait-bench-") as name:
        for size in arguments.sizes:
            row = measure_size(Path(name) / str(size), size * 1_000_000, arguments.runs)
            print(format_row(size, row), flush=True)
    print(f"\naims: ratios <= {TARGET_RATIO}, peaks <= {TARGET_MB:.0f} MB")


def measure_size(folder: Path, size: int, runs: int) -> Row:
    """Measure one size."""
    adapter = folder / "adapter"
    write_adapter(adapter, size)
    weights = adapter / WEIGHTS
    row = Row()
    for run in range(runs):
        # A registry and a cache of its own each time: nothing is known before.
        with running_registry(folder / f"registry-{run}") as server:
            measure_once(row, server, folder / f"client-{run}", weights)
            row.server_mb = max(row.server_mb, server.peak_mb)
        remove(folder / f"registry-{run}", folder / f"client-{run}")
    remove(folder)
    return row


def measure_once(row: Row, server: Server, home: Path, weights: Path) -> None:
    """Measure the baseline, a push and a pull, once each."""
    copy = weights.with_suffix(".copy")
    row.baseline.add(measure(["sh", "-c", f"sha256sum '{weights}' && cp '{weights}' '{copy}'"]))
    copy.unlink()
    environment = server.environment(home)
    row.push.add(
        measure(
            ["plait", "push", weights.parent, "bench/adapter", "-m", "measured", "--create"],
            environment,
        )
    )
    pulled = measure(["plait", "pull", "bench/adapter"], environment)
    row.pull.add(pulled)
    verify_equal(weights, Path(pulled.output.strip()) / weights.name)


def format_row(size: int, row: Row) -> str:
    """Return a row of the table."""
    base = row.baseline.median
    client = max(row.push.peak_mb, row.pull.peak_mb)
    return (
        f"| {size} MB | {base:.2f} s | {row.push.median:.2f} s | {row.push.median / base:.2f} "
        f"| {row.pull.median:.2f} s | {row.pull.median / base:.2f} "
        f"| {client:.0f} MB | {row.server_mb:.0f} MB |"
    )


if __name__ == "__main__":
    main()
