"""Push and pull through S3, against the work that both need in the same run.

    PYTHONPATH=tests python benchmarks/s3_transfer.py [--sizes 84 336 1000] [--runs 5]

A push cannot do without one PUT, one GET (it is verified by reading it back) and one sha256 of its
bytes; a pull not without one GET and one sha256. Both are measured with `http.client`, which
plait's client uses, without any start-up; `plait push` and `plait pull` are processes of their own,
start-up included, with an empty cache. All take turns, on one registry over PostgreSQL and S3 that
has served a small push before. Before each turn every tensor is changed, so nothing is known.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from adapters import WEIGHTS, change_tensors, remove, verify_equal, write_adapter
from machine import describe
from plain_transfers import Plain, Seconds
from programs import Samples, Server, measure, median, running_registry
from services import Services, running_services

LIMIT = 1.3
CLIENT_MB = 150.0
SERVER_MB = 200.0
ROOM = "transfers"
PLAIN = "plain-transfers"
SMALL = Path(__file__).parent.parent / "examples" / "micro" / "adapters" / "cpp" / "v1"


@dataclass(slots=True)
class Row:
    """What was measured at one size."""

    plain: list[Seconds] = field(default_factory=list)
    push: Samples = field(default_factory=Samples)
    pull: Samples = field(default_factory=Samples)

    @property
    def needed_by_push(self) -> float:
        """The median of PUT + GET + sha256."""
        return median([item.put + item.get + item.sha256 for item in self.plain])

    @property
    def needed_by_pull(self) -> float:
        """The median of GET + sha256."""
        return median([item.get + item.sha256 for item in self.plain])


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[84, 336, 1000], metavar="MB")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(describe("plait", "uvicorn", "boto3", "httpx", "psycopg"))
    print(f"medians of {arguments.runs} runs\n")
    with (
        tempfile.TemporaryDirectory(prefix="plait-bench-") as name,
        running_services() as services,
        running_registry(Path(name) / "registry", services.make_room(ROOM)) as server,
    ):
        root = Path(name)
        services.s3.create_bucket(PLAIN)
        environment = server.environment(root / "warm")
        measure(["plait", "push", SMALL, "bench/warm", "-m", "warm", "--create"], environment)
        report_plait(root, services, server, arguments)
        report_other_clients(root, services, arguments.sizes[0], arguments.runs)


def report_plait(
    root: Path, services: Services, server: Server, arguments: argparse.Namespace
) -> None:
    """Measure and print the table of pushes and pulls."""
    print("| size | PUT | GET | sha256 | push | ratio | pull | ratio | client peak | server peak |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        row = measure_size(root / str(size), size, services, server, arguments.runs)
        print(format_row(size, row, server.peak_mb), flush=True)
    print(
        f"\nlimits: ratios {LIMIT} of what is needed, client {CLIENT_MB:.0f} MB, server "
        f"{SERVER_MB:.0f} MB"
    )


def measure_size(folder: Path, size: int, services: Services, server: Server, runs: int) -> Row:
    """Measure one size."""
    weights = folder / "adapter" / WEIGHTS
    write_adapter(weights.parent, size * 1_000_000)
    row = Row()
    plain = Plain(services.s3, PLAIN)
    for run in range(runs):
        change_tensors(weights, seed=size * 100 + run)
        row.plain.append(plain.by_http_client(weights))
        environment = server.environment(folder / "client")
        name = f"bench/adapter-{size}-{run}"
        row.push.add(
            measure(
                ["plait", "push", weights.parent, name, "-m", "measured", "--create"], environment
            )
        )
        pulled = measure(["plait", "pull", name], environment)
        row.pull.add(pulled)
        verify_equal(weights, Path(pulled.output.strip()) / WEIGHTS)
        remove(folder / "client")
        services.remove_weights(ROOM)
    remove(folder)
    return row


def report_other_clients(root: Path, services: Services, size: int, runs: int) -> None:
    """Measure and print what other HTTP clients take for one PUT and one GET."""
    weights = root / "others" / WEIGHTS
    write_adapter(weights.parent, size * 1_000_000)
    plain = Plain(services.s3, PLAIN)
    clients = {
        "http.client": plain.by_http_client,
        "httpx": plain.by_httpx,
        "boto3's transfer manager": plain.by_boto3,
    }
    taken: dict[str, list[Seconds]] = {name: [] for name in clients}
    for _ in range(runs):
        for name, move in clients.items():
            taken[name].append(move(weights))
    print(f"\n| one file of {size} MB by | PUT | GET |\n|---|---|---|")
    for name, seconds in taken.items():
        put, get = (median([getattr(item, verb) for item in seconds]) for verb in ("put", "get"))
        print(f"| {name} | {put:.2f} s | {get:.2f} s |")


def format_row(size: int, row: Row, server_mb: float) -> str:
    """Return a row of the table."""
    put, get, sha256 = (
        median([getattr(item, part) for item in row.plain]) for part in ("put", "get", "sha256")
    )
    push, pull = row.push.median, row.pull.median
    client = max(row.push.peak_mb, row.pull.peak_mb)
    return (
        f"| {size} MB | {put:.2f} s | {get:.2f} s | {sha256:.2f} s "
        f"| {push:.2f} s | {push / row.needed_by_push:.2f} "
        f"| {pull:.2f} s | {pull / row.needed_by_pull:.2f} "
        f"| {client:.0f} MB | {server_mb:.0f} MB |"
    )


if __name__ == "__main__":
    main()
