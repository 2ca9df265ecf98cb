"""Whether resolving a tag slows down as the registry grows.

    PYTHONPATH=tests python benchmarks/resolve.py [--repositories 1000] [--commits 100]

Two registries of two workers each, on one PostgreSQL: one that knows a single commit, one with a
hundred thousand in a thousand repositories. Both are asked in turn, over 16 open connections, what
`ns/name@tag` is, as the client does: `resolve`, then the manifest. The program that asks shares the
cores with all of them: the rates are lower than they would be from another machine, on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from large_database import Tagged, fill
from machine import describe
from programs import Server, median, running_registry
from services import running_services

CONNECTIONS = 16
WORKERS = 2
LIMIT = 1.5


@dataclass(slots=True)
class Side:
    """One of the two registries, and what was measured on it."""

    server: Server
    token: str
    tags: Sequence[Tagged]
    rates: list[float] = field(default_factory=list)
    """Resolved tags a second, of each round."""
    seconds: list[float] = field(default_factory=list)
    """Of every single one."""

    @property
    def rate(self) -> float:
        """The median of the rounds."""
        return median(self.rates)

    def percentile(self, share: float) -> float:
        """Return the seconds within which that share was answered."""
        return sorted(self.seconds)[int(len(self.seconds) * share)]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repositories", type=int, default=1000)
    parser.add_argument("--commits", type=int, default=100, help="of each repository")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    arguments = parser.parse_args()
    print(describe("plait", "uvicorn", "sqlalchemy", "psycopg"))
    sizes = {"empty": (1, 1), "full": (arguments.repositories, arguments.commits)}
    with (
        tempfile.TemporaryDirectory(prefix="plait-bench-") as name,
        running_services() as services,
        ExitStack() as stack,
    ):
        sides = {}
        for side, (repositories, commits) in sizes.items():
            settings = services.make_room(f"resolve-{side}")
            started = time.perf_counter()
            tags = fill(settings["PLAIT_DATABASE_URL"], repositories=repositories, commits=commits)
            with services.postgres.connect(f"resolve-{side}") as connection:
                connection.execute("VACUUM ANALYZE")
            spent = time.perf_counter() - started
            print(
                f"{side}: {repositories * commits:,} commits written in {spent:.0f} s", flush=True
            )
            server = stack.enter_context(
                running_registry(Path(name) / side, settings, workers=WORKERS)
            )
            sides[side] = Side(server, server.token, tags)
        uvloop.run(measure(list(sides.values()), arguments.rounds, arguments.seconds))
    print_table(sides)


async def measure(sides: Sequence[Side], rounds: int, seconds: float) -> None:
    """Ask all sides in turn; the first round warms them up and does not count."""
    for number in range(rounds + 1):
        for side in sides:
            times: list[float] = []
            stop_at = time.perf_counter() + seconds
            async with asyncio.TaskGroup() as group:
                for connection in range(CONNECTIONS):
                    source = random.Random(number * CONNECTIONS + connection)
                    group.create_task(ask(side, source, stop_at, times))
            if number:
                side.rates.append(len(times) / seconds)
                side.seconds += times


async def ask(side: Side, source: random.Random, stop_at: float, times: list[float]) -> None:
    """Resolve tags over one connection, one after another, until the time is up."""
    parts = urlsplit(side.server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    connection = Connection(reader, writer, side.token)
    try:
        while (started := time.perf_counter()) < stop_at:
            await resolve(connection, source.choice(side.tags))
            times.append(time.perf_counter() - started)
    finally:
        writer.close()
        await writer.wait_closed()


async def resolve(connection: Connection, tag: Tagged) -> None:
    """Ask for the commit of a tag and for its manifest; both must be the right ones."""
    path = f"/api/v1/repositories/{tag.repository}"
    answer = await connection.call("GET", f"{path}/resolve?revision={tag.tag}")
    found = json.loads(answer)
    if (found["commit"], found["manifest"]) != (tag.commit, tag.manifest):
        raise SystemExit(f"benchmark: {tag} was resolved to {found}")
    body = json.dumps({"ids": [tag.manifest]}).encode()
    answer = await connection.call("POST", f"{path}/manifests/query", body)
    if tag.manifest.encode() not in answer:
        raise SystemExit(f"benchmark: the manifest of {tag} is another one")


@dataclass(slots=True)
class Connection:
    """One connection that stays open."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    token: str

    async def call(self, method: str, target: str, body: bytes = b"") -> bytes:
        """Send one request and return the body of its answer, which must be a good one."""
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: registry",
            f"Authorization: Bearer {self.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        answer = await self.reader.readexactly(length)
        if not head.startswith("http/1.1 200"):
            raise SystemExit(f"benchmark: {target} was answered {head.splitlines()[0]}: {answer!r}")
        return answer


def print_table(sides: dict[str, Side]) -> None:
    """Print what was measured on both sides, and the ratios."""
    empty, full = sides["empty"], sides["full"]
    rows = {
        "resolved a second": (empty.rate, full.rate, empty.rate / full.rate, "{:.0f}"),
        **{
            f"p{percent}, ms": (
                empty.percentile(percent / 100) * 1000,
                full.percentile(percent / 100) * 1000,
                full.percentile(percent / 100) / empty.percentile(percent / 100),
                "{:.1f}",
            )
            for percent in (50, 99)
        },
    }
    print("\n| | empty | full | times slower | limit |\n|---|---|---|---|---|")
    for name, (first, second, ratio, form) in rows.items():
        print(f"| {name} | {form.format(first)} | {form.format(second)} | {ratio:.2f} | {LIMIT} |")


if __name__ == "__main__":
    main()
