"""What `make demo-scale` shows: a registry of two replicas that loses one under load, and no byte.

A real PostgreSQL and a real S3 server are started, two replicas of `plait-registry` on them, and a
small balancer in front. Four people, each a process with a token of their own, push versions to
their branches and pull each other's. On the way one replica is killed (SIGKILL) and, later, started
again. At the end every version is pulled once more and compared, and `fsck` reads all that is
stored. The exit status is 1 if anything is not as it should be; nothing is left running.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path

import plait
from e2e.programs import PROGRAMS, Registry, Transcript, bare_environment
from plait.errors import PlaitError
from plait.model.safetensors_layout import TensorRange, build_header
from served.balancer import balancer
from served.postgres import postgres_server
from served.s3 import s3_server

PEOPLE = ("ada", "bob", "eve", "kim")
REPOSITORY = "team/micro"
ROUNDS = 6
TENSORS = 8
TENSOR_BYTES = 1 << 19
WEIGHTS = "adapter_model.safetensors"
KILL_AFTER = 6
"""Pushes of all people together."""
START_AFTER = 14
LIMIT = 60.0
"""Seconds without news after which something hangs."""


@dataclass(frozen=True, slots=True)
class Member:
    """A person: where the registry is, and who they are there."""

    name: str
    url: str
    token: str
    home: Path


@dataclass(frozen=True, slots=True)
class News:
    """What a person has just done."""

    who: str
    did: str
    """push, pull, done or failed."""
    seconds: float = 0.0
    size: int = 0
    digest: str = ""
    """Of the weights that were pushed; or what went wrong."""


@dataclass(slots=True)
class Tally:
    """What all people did."""

    pushes: list[News] = field(default_factory=list)
    pulls: list[News] = field(default_factory=list)
    failures: list[News] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def add(self, news: News) -> None:
        """Count."""
        if news.did == "done":
            self.done.add(news.who)
        else:
            {"push": self.pushes, "pull": self.pulls, "failed": self.failures}[news.did].append(
                news
            )


@dataclass(frozen=True, slots=True)
class Cluster:
    """The replicas, their settings, and the address in front of them."""

    replicas: Sequence[Registry]
    settings: dict[str, str]
    url: str

    def operate(self, *words: str) -> str:
        """Run `plait-registry` as an operator would, and return what it printed."""
        data = self.replicas[0].data
        done = subprocess.run(
            [PROGRAMS / "plait-registry", *words, "--data", data],
            env=bare_environment(data.parent, **self.settings),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if done.returncode:
            fail(
                f"plait-registry {words[0]} ended with status {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout


def main() -> None:
    """Give the demo."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="plait-demo-") as name:
        root = Path(name)
        try:
            with running_cluster(root) as cluster:
                members = make_members(cluster, root)
                tally = run_load(cluster, members)
                report(tally)
                verify_versions(members[0], tally)
                say("fsck compares the database with the store, and every object with its digest:")
                print(textwrap.indent(cluster.operate("fsck", "--full").rstrip(), "  "))
        finally:
            make_removable(root)
    say(f"All is well, after {time.monotonic() - started:.0f} s. Nothing is left running.")


@contextmanager
def running_cluster(root: Path) -> Generator[Cluster]:
    """Start the services, two replicas and the balancer; stop all of them at the end."""
    say("A PostgreSQL and an S3 server, two replicas of the registry, a balancer in front:")
    with postgres_server() as postgres, s3_server(root / "s3") as s3, ExitStack() as stack:
        postgres.create_database("plait")
        s3.create_bucket("plait")
        settings = {"PLAIT_DATABASE_URL": postgres.url("plait"), **s3.environment("plait")}
        print(f"  PostgreSQL in process {postgres.process_id}, S3 at {s3.endpoint}")
        replicas = []
        for letter in "AB":
            replica = Registry(root / f"replica-{letter}", Transcript(), **settings)
            stack.callback(replica.kill)
            replicas.append(replica.start())
            print(f"  replica {letter} at {replica.url}")
        url = stack.enter_context(balancer([replica.port for replica in replicas]))
        print(f"  balancer at {url}")
        yield Cluster(replicas, settings, url)


def make_members(cluster: Cluster, root: Path) -> list[Member]:
    """Make the people's accounts, a token for each, their organisation and the repository."""
    say("An organisation, its people, and a token for each of them that may only write there:")
    admin = bare_environment(
        root, PLAIT_URL=cluster.replicas[0].url, PLAIT_TOKEN=cluster.replicas[0].token
    )
    namespace = REPOSITORY.partition("/")[0]
    for name in PEOPLE:
        run_plait(admin, "user", "create", name)
    run_plait(admin, "org", "create", namespace, "--owner", PEOPLE[0])
    for name in PEOPLE[1:]:
        run_plait(admin, "org", "add", namespace, name, "--role", "writer")
    run_plait(admin, "repo", "create", REPOSITORY)
    members = []
    for name in PEOPLE:
        words = ("token", "create", "demo", "--user", name, "--scope", f"{namespace}:write")
        made = json.loads(run_plait(admin, *words, "--json"))
        members.append(Member(name, cluster.url, made["secret"], root / name))
    print(f"  {', '.join(PEOPLE)} may write to {REPOSITORY}")
    return members


def run_plait(environment: dict[str, str], *words: str) -> str:
    """Run `plait` and return what it printed."""
    done = subprocess.run(
        [PROGRAMS / "plait", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode:
        fail(f"plait {words[0]} {words[1]} ended with status {done.returncode}: {done.stderr}")
    return done.stdout


def run_load(cluster: Cluster, members: Sequence[Member]) -> Tally:
    """Let all people push and pull; kill a replica on the way, and start it again."""
    say(
        f"{len(members)} people push {ROUNDS} versions each, to a branch of their own, and pull "
        "the others'. Half of the tensors change each time:"
    )
    context = multiprocessing.get_context("spawn")
    queue: Queue[News] = context.Queue()
    processes: list[BaseProcess] = [
        context.Process(target=work, args=(member, queue), daemon=True) for member in members
    ]
    for process in processes:
        process.start()
    tally = Tally()
    victim, is_dead, was_started = cluster.replicas[1], False, False
    while len(tally.done) < len(members):
        tally.add(queue.get(timeout=LIMIT))
        if not is_dead and len(tally.pushes) >= KILL_AFTER:
            victim.kill()
            is_dead = True
            print(f"  after {len(tally.pushes)} pushes: replica B is killed (SIGKILL)", flush=True)
        elif is_dead and not was_started and len(tally.pushes) >= START_AFTER:
            victim.start()
            was_started = True
            print(f"  after {len(tally.pushes)} pushes: replica B is started again", flush=True)
    for process in processes:
        process.join(LIMIT)
    return tally


def work(member: Member, queue: Queue[News]) -> None:
    """Push and pull as one person, in a process of one's own."""
    source = random.Random(member.name)  # noqa: S311 - weights, not secrets
    folder = member.home / "adapter"
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "demo/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = [make_values(source) for _ in range(TENSORS)]
    with plait.connect(member.url, token=member.token, cache_dir=member.home / "cache") as registry:
        repository = registry.repository(REPOSITORY)
        for turn in range(ROUNDS):
            for number in range(turn % 2, TENSORS, 2):
                tensors[number] = make_values(source)
            digest = write_weights(folder / WEIGHTS, tensors)
            try:
                started = time.monotonic()
                # The message says what the weights must be, so that others can compare.
                repository.push(folder, message=digest, branch=member.name)
                taken = time.monotonic() - started
                size = (folder / WEIGHTS).stat().st_size
                queue.put(News(member.name, "push", taken, size, digest))
                queue.put(pull_another(member, repository, source))
            except PlaitError as error:
                queue.put(News(member.name, "failed", digest=f"{error.kind}: {error.message}"))
    queue.put(News(member.name, "done"))


def pull_another(member: Member, repository: plait.Repository, source: random.Random) -> News:
    """Pull the newest version of somebody's branch and compare it with what its message says."""
    branch = source.choice(sorted(repository.refs().branches))
    started = time.monotonic()
    pulled = repository.pull(branch)
    taken = time.monotonic() - started
    digest = digest_of(pulled.path / WEIGHTS)
    expected = repository.show(str(pulled.commit)).commit.message
    if digest != expected:
        return News(member.name, "failed", digest=f"{branch} was pulled as {digest}")
    return News(member.name, "pull", taken, pulled.received, digest)


def report(tally: Tally) -> None:
    """Say what happened, and end here if a push or a pull failed."""
    for verb, items in (("pushed", tally.pushes), ("pulled", tally.pulls)):
        slowest = max(item.seconds for item in items)
        size = sum(item.size for item in items) / 1e6
        print(f"  {len(items)} versions {verb}, {size:.0f} MB; the slowest took {slowest:.1f} s")
    for failure in tally.failures:
        print(f"  {failure.who} failed: {failure.digest}")
    if tally.failures:
        fail(f"{len(tally.failures)} pushes or pulls failed.")
    print("  none failed: those that the kill cut off went on at the other replica")


def verify_versions(member: Member, tally: Tally) -> None:
    """Pull every version into an empty cache, and compare it with what was pushed."""
    say("Every version that was pushed is there, once, and comes back byte for byte:")
    cache = member.home / "fresh"
    with plait.connect(member.url, token=member.token, cache_dir=cache) as registry:
        repository = registry.repository(REPOSITORY)
        for name in PEOPLE:
            pushed = [news.digest for news in tally.pushes if news.who == name]
            log = list(repository.log(name))
            if [info.commit.message for info in reversed(log)] != pushed:
                fail(f"{name} has {len(log)} commits for {len(pushed)} pushes.")
            for info in log:
                path = repository.pull(str(info.id)).path / WEIGHTS
                if digest_of(path) != info.commit.message:
                    fail(f"version {info.id[:12]} of {name} is not what was pushed.")
            print(f"  {name}: {len(log)} versions are the same")


def make_values(source: random.Random) -> bytes:
    """Return bf16 values of ordinary magnitudes."""
    data = bytearray(source.randbytes(TENSOR_BYTES))
    data[1::2] = bytes(data[1::2]).translate(bytes(0x3C | (b & 0x83) for b in range(256)))
    return bytes(data)


def write_weights(path: Path, tensors: Sequence[bytes]) -> str:
    """Write a safetensors file, and return its sha256."""
    ranges = [
        TensorRange(
            f"base_model.model.layers.{number // 2}.q_proj.lora_{'AB'[number % 2]}.weight",
            "BF16",
            (8, TENSOR_BYTES // 16) if number % 2 == 0 else (TENSOR_BYTES // 16, 8),
            0,
            TENSOR_BYTES,
        )
        for number in range(len(tensors))
    ]
    header, _ = build_header(ranges, {"format": "pt"})
    path.write_bytes(header + b"".join(tensors))
    return digest_of(path)


def digest_of(path: Path) -> str:
    """Return a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_removable(root: Path) -> None:
    """Allow the removal of folders that plait made read-only."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o700)


def say(text: str) -> None:
    """Say what comes next."""
    print(f"\n== {textwrap.fill(text, 96)}", flush=True)


def fail(text: str) -> None:
    """End the demo, since something is wrong."""
    sys.exit(f"demo: {text}")


if __name__ == "__main__":
    main()
