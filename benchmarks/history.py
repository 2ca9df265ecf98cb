"""Whether reading slows down as history grows.

    python benchmarks/history.py [--lengths 100 1000] [--runs 20]

One repository a length, each a line of commits on one adapter. Over HTTP, with one open connection:
a page of the log, one commit, resolving a revision far back, and the log's page half way down.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
from machine import describe
from programs import running_registry

import plait

ADAPTER = Path(__file__).parent.parent / "examples" / "micro" / "adapters" / "prose" / "v1"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    print(describe("plait", "httpx", "uvicorn", "sqlalchemy"))
    print(f"medians of {arguments.runs} requests, in milliseconds; ratio to the shortest history\n")
    with tempfile.TemporaryDirectory(prefix="plait-bench-") as name:
        root = Path(name)
        with running_registry(root / "registry") as server:
            token = (server.data / "admin.token").read_text().strip()
            rows = {}
            for length in arguments.lengths:
                build_history(server.url, token, root, length)
                with httpx.Client(
                    base_url=f"{server.url}/api/v1/repositories/bench/history-{length}",
                    headers={"Authorization": f"Bearer {token}"},
                ) as client:
                    rows[length] = measure_reads(client, length, arguments.runs)
    print_table(rows)


def build_history(url: str, token: str, root: Path, length: int) -> None:
    """Push `length` versions; each differs from the one before in a small file only."""
    folder = root / f"adapter-{length}"
    shutil.copytree(ADAPTER, folder)
    with plait.connect(url, token=token, cache_dir=root / "cache") as registry:
        repository = registry.create(f"bench/history-{length}")
        for step in range(length):
            (folder / "step.json").write_text(json.dumps({"step": step}))
            repository.push(folder, message=f"step {step}")


def measure_reads(client: httpx.Client, length: int, runs: int) -> dict[str, float]:
    """Return the median of each kind of read, in milliseconds."""
    head = get(client, "/resolve?revision=main")["commit"]
    back = length // 2
    middle = quote(f"main~{back}")
    reads: dict[str, str] = {
        "log, first page of 50": "/commits?revision=main&limit=50",
        "log, from half way": f"/commits?revision={middle}&limit=50",
        "show": f"/commits/{head}",
        "resolve main~(n/2)": f"/resolve?revision={middle}",
    }
    return {
        name: median_ms(lambda path=path: get(client, path), runs) for name, path in reads.items()
    }


def get(client: httpx.Client, path: str) -> dict[str, str]:
    """Return a JSON answer, which must be a good one."""
    answer = client.get(path)
    answer.raise_for_status()
    document: dict[str, str] = answer.json()
    return document


def median_ms(action: Callable[[], object], runs: int) -> float:
    """Return the median time of an action, in milliseconds."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)[runs // 2]


def print_table(rows: dict[int, dict[str, float]]) -> None:
    """Print a column a length."""
    lengths = list(rows)
    print("| read | " + " | ".join(f"{n} commits" for n in lengths) + " |")
    print("|---|" + "---|" * len(lengths))
    for name, first in rows[lengths[0]].items():
        cells = [f"{rows[n][name]:.1f} ({rows[n][name] / first:.1f})" for n in lengths]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
