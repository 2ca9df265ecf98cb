"""Two replicas on PostgreSQL and S3, and what becomes of pushes while a part of that is away.

Whatever is taken away: a push that says it is complete is there byte for byte, one that is not says
so, and `fsck` finds nothing wrong afterwards.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import pytest

from e2e.conftest import MakeClient
from e2e.made_adapters import write_large_adapter
from e2e.programs import (
    PROGRAMS,
    Client,
    Outcome,
    Registry,
    Transcript,
    bare_environment,
    digest_tree,
    read_refusal,
)
from served.balancer import balancer
from served.postgres import PostgresServer, postgres_server
from served.s3 import S3Server, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PUSHES = 20
AWAY = 10.0
"""Seconds."""
ROUNDS = 5
LIMIT = 200.0


@dataclass(frozen=True)
class Cluster:
    """Two replicas, what they share, and the address that spreads clients over them."""

    replicas: tuple[Registry, Registry]
    postgres: PostgresServer
    s3: S3Server
    settings: dict[str, str]
    url: str

    def check(self) -> None:
        """Let fsck compare the database with the store, and every object with its digest."""
        replica = self.replicas[0]
        environment = bare_environment(replica.data.parent, **self.settings)
        done = subprocess.run(
            [PROGRAMS / "plait-registry", "fsck", "--full", "--data", replica.data],
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, transcript: Transcript) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("cluster")
    with postgres_server() as postgres, s3_server(root / "s3") as s3:
        postgres.create_database("plait")
        s3.create_bucket("plait")
        settings = {
            "PLAIT_DATABASE_URL": postgres.url("plait"),
            **s3.environment("plait"),
        }
        first, second = (
            Registry(root / name, transcript, **settings) for name in ("replica-a", "replica-b")
        )
        try:
            first.start()
            second.data.mkdir(mode=0o700)
            shutil.copy2(first.data / "admin.token", second.data / "admin.token")
            second.start()
            with balancer([first.port, second.port]) as url:
                yield Cluster((first, second), postgres, s3, settings, url)
        finally:
            first.kill()
            second.kill()


@pytest.fixture
def make_member(cluster: Cluster, make_client: MakeClient) -> Callable[[], Client]:
    """Make people who reach the replicas in turn."""

    def make() -> Client:
        member = make_client(cluster.replicas[0])
        member.via = cluster.url
        return member

    return make


@dataclass
class Load:
    """Pushes of twenty people, each to a branch of their own, all started at once."""

    people: list[Client]
    name: str
    folders: list[Path]

    @classmethod
    def make(cls, make_member: Callable[[], Client], name: str, root: Path) -> Load:
        people = [make_member() for _ in range(PUSHES)]
        folders = [
            write_large_adapter(
                root / f"adapter-{number}", mebibytes=2, seed=crc32(name.encode()) % 997 + number
            )
            for number in range(PUSHES)
        ]
        people[0].run("repo", "create", name)
        return cls(people, name, folders)

    def run(self, strike: Callable[[], None]) -> list[Outcome]:
        """Push, and do `strike` when the first of them are through."""
        started = [
            person.start("push", folder, f"{self.name}@b{number}", "-m", "Mine", "--json")
            for number, (person, folder) in enumerate(zip(self.people, self.folders, strict=True))
        ]
        deadline = time.monotonic() + LIMIT
        while sum(process.poll() is not None for process in started) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert any(process.poll() is None for process in started)
        strike()
        with ThreadPoolExecutor(PUSHES) as pool:
            return list(
                pool.map(
                    lambda item: item[0].finish(item[1], limit=LIMIT),
                    zip(self.people, started, strict=True),
                )
            )

    def verify(self, outcomes: list[Outcome], fresh: Client) -> int:
        """Check what was said about each push against what is there; return how many completed."""
        listed = fresh.facts("branch", self.name)["branches"]
        tips = {item["name"]: item["commit"] for item in listed}
        completed = 0
        for number, outcome in enumerate(outcomes):
            branch = f"b{number}"
            if outcome.status:
                error = read_refusal(outcome)
                assert error["kind"] in {"registry-unreachable", "unavailable", "busy"}, error
                continue
            completed += 1
            assert tips[branch] == outcome.facts()["commit"]
            path = Path(fresh.run("pull", f"{self.name}@{branch}").strip())
            assert digest_tree(path) == digest_tree(self.folders[number])
        return completed

    def push_again(self, outcomes: list[Outcome]) -> None:
        """Push what failed once more, which must work now."""
        for number, outcome in enumerate(outcomes):
            if outcome.status:
                where = f"{self.name}@b{number}"
                self.people[number].run("push", self.folders[number], where, "-m", "Mine")


@pytest.fixture
def load(make_member: Callable[[], Client], name: str, tmp_path: Path) -> Load:
    return Load.make(make_member, name, tmp_path)


def test_pushes_outlast_a_database_that_is_away_for_ten_seconds(
    cluster: Cluster, load: Load, make_member: Callable[[], Client]
) -> None:
    def strike() -> None:
        cluster.postgres.stop(at_once=True)
        time.sleep(AWAY)
        cluster.postgres.start()

    outcomes = load.run(strike)
    assert load.verify(outcomes, make_member()) > 0
    load.push_again(outcomes)
    cluster.check()


def test_pushes_outlast_a_store_that_is_away_for_ten_seconds(
    cluster: Cluster, load: Load, make_member: Callable[[], Client]
) -> None:
    def strike() -> None:
        cluster.s3.stop()
        time.sleep(AWAY)
        cluster.s3.start()

    outcomes = load.run(strike)
    assert load.verify(outcomes, make_member()) > 0
    load.push_again(outcomes)
    cluster.check()


def test_pushes_go_on_at_the_other_replica_when_one_is_killed(
    cluster: Cluster, load: Load, make_member: Callable[[], Client]
) -> None:
    outcomes = load.run(cluster.replicas[1].kill)
    assert load.verify(outcomes, make_member()) == PUSHES
    cluster.replicas[1].start()
    cluster.check()


def test_of_two_pushes_at_two_replicas_to_one_branch_one_wins(
    cluster: Cluster, make_client: MakeClient, name: str, tmp_path: Path
) -> None:
    people = [make_client(replica) for replica in cluster.replicas]
    first = write_large_adapter(tmp_path / "first", mebibytes=1)
    people[0].run("push", first, name, "-m", "First", "--create")
    copies = [person.home / "work" for person in people]
    for person, copy in zip(people, copies, strict=True):
        person.run("clone", name, copy)
    for turn in range(ROUNDS):
        for number, (person, copy) in enumerate(zip(people, copies, strict=True)):
            (copy / f"notes-{number}.md").write_text(f"turn {turn}", encoding="utf-8")
            person.run("commit", "-m", f"Turn {turn}", cwd=copy)
        started = [
            person.start("push", "--json", cwd=copy)
            for person, copy in zip(people, copies, strict=True)
        ]
        outcomes = [person.finish(process) for person, process in zip(people, started, strict=True)]
        assert sorted(outcome.status for outcome in outcomes) == [0, 1]
        loser = next(number for number, outcome in enumerate(outcomes) if outcome.status)
        assert read_refusal(outcomes[loser])["kind"] == "ref-update-conflict"
        people[loser].run("pull", "--merge", cwd=copies[loser])
        people[loser].run("push", cwd=copies[loser])
        people[1 - loser].run("pull", cwd=copies[1 - loser])
    assert digest_tree(copies[0], skip={".plait": 0}) == digest_tree(copies[1], skip={".plait": 0})
    cluster.check()
