"""Bundles between two registries that never see each other."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import plait
from e2e.conftest import MakeClient
from e2e.crash import MIB, received, sent
from e2e.made_adapters import (
    embedding,
    lora_tensors,
    spoil,
    write_adapter,
    write_large_adapter,
)
from e2e.programs import Client, Registry, Transcript, digest_tree, wait_for
from e2e.wiretap import tap
from plait.bundle.apply import AppliedBundle, ApplyWish, apply_bundle
from plait.bundle.create import BundleWish, CreatedBundle, create_bundle
from plait.bundle.registry_source import RegistrySource
from plait.bundle.verify import verify_bundle
from plait.errors import NotFound, PlaitError
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.ids import CommitId
from plait.model.refs import DEFAULT_BRANCH, RefKind, RefUpdate
from plait.push import PushRequest, push_commits
from plait.repository import PushOptions, Repository

DOCUMENTS = 128 * 1024
"""Bytes that commits, manifests and the frame may take."""
MEASURED = """
import pathlib, re, sys
from plait.cli.main import main
status = main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+([0-9]+)", pathlib.Path("/proc/self/status").read_text())
print(peak[1], file=sys.stderr)
sys.exit(status)
"""


@dataclass
class Site:
    """One side of the gap: its registry, and the repository as scripts see it."""

    client: Client
    repository: Repository
    folder: Path

    def pull(self, revision: str) -> dict[str, bytes]:
        """Return the files of a version."""
        return digest_tree(self.repository.pull(revision).path)

    def branches(self) -> dict[str, str]:
        """Return where the branches are."""
        return {str(k): str(v) for k, v in self.repository.refs().branches.items()}

    def push(self, seed: int, *, rows: int = 0, branch: str = "main") -> str:
        """Push a version, with an embedding of that many rows, and return its commit."""
        tensors = lora_tensors(seed=seed)
        if rows:
            tensors.append(embedding(rows=rows))
        folder = write_adapter(self.folder, tensors)
        options = PushOptions(create=True)
        pushed = self.repository.push(folder, message=f"v{seed}", branch=branch, options=options)
        return str(pushed.commit)

    def push_large(self, *, mebibytes: int, seed: int) -> None:
        """Push a version of that size."""
        write_large_adapter(self.folder, mebibytes=mebibytes, seed=seed)
        self.repository.push(self.folder, message="Large", options=PushOptions(create=True))


@dataclass
class Sites:
    """The registry that everybody shares, and another one behind the gap."""

    here: Site
    there: Site
    bundle: Path
    name: str

    def create(self, *refs: str, since: str = "") -> CreatedBundle:
        """Create the bundle, in place of the last one."""
        return self.here.repository.bundle(
            self.bundle, refs=refs, since=[since] if since else [], force=True
        )

    def apply(self, *refs: str, force: bool = False) -> AppliedBundle:
        """Apply it behind the gap."""
        return self.there.repository.apply_bundle(self.bundle, refs=refs, force=force, create=True)

    def refusal(self, *refs: str, force: bool = False) -> PlaitError:
        """Return why it cannot be applied."""
        with pytest.raises(PlaitError) as caught:
            self.apply(*refs, force=force)
        return caught.value

    def verify_same(self, revision: str = "main") -> None:
        """Check that both have the same commit and the same bytes."""
        here, there = self.here.repository, self.there.repository
        assert here.resolve(revision) == there.resolve(revision)
        assert self.here.pull(revision) == self.there.pull(revision)


def changes(applied: AppliedBundle) -> dict[str, str]:
    """Return what became of each ref."""
    return {item.ref.name: item.change.value for item in applied.refs}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, transcript: Transcript) -> Iterator[Registry]:
    running = Registry(tmp_path_factory.mktemp("behind") / "data", transcript).start()
    yield running
    running.kill()


@pytest.fixture
def sites(
    client: Client, make_client: MakeClient, behind: Registry, tmp_path: Path, name: str
) -> Iterator[Sites]:
    with contextlib.ExitStack() as stack:

        def enter(person: Client) -> Site:
            place = person.registry
            opened = plait.connect(place.url, token=place.token, cache_dir=person.cache)
            repository = stack.enter_context(opened).repository(name)
            return Site(person, repository, person.home / "adapter")

        yield Sites(enter(client), enter(make_client(behind)), tmp_path / "x.plait", name)


def test_the_three_commands_bring_the_same_commits_and_bytes(sites: Sites) -> None:
    first = sites.here.push(1, rows=2_000)
    sites.here.repository.tag("v1", "main")
    sites.here.push(2, rows=2_000)
    sites.here.push(3, rows=2_000, branch="side/one")
    here, there, path = sites.here.client, sites.there.client, sites.bundle
    created = here.facts("bundle", "create", path, sites.name)
    assert created["commits"] == 3
    verified = there.facts("bundle", "verify", path)
    assert verified == {**created, "files_in_part": 0}
    assert there.refusal("bundle", "apply", path, sites.name)["kind"] == "repository-not-found"
    applied = there.facts("bundle", "apply", path, sites.name, "--create")
    assert [(ref["kind"], ref["name"], ref["change"]) for ref in applied["refs"]] == [
        ("branch", "main", "new"),
        ("branch", "side/one", "new"),
        ("tag", "v1", "new"),
    ]
    assert applied["commits"] == 3
    for revision in ("main", "side/one", "v1"):
        sites.verify_same(revision)
    logs = [[info.id for info in site.repository.log()] for site in (sites.here, sites.there)]
    assert logs[0] == logs[1]
    assert logs[0][-1] == first
    printed = there.run("bundle", "verify", path)
    assert created["sha256"] in printed
    assert "3 commits" in printed
    assert "kept" in there.run("bundle", "apply", path, sites.name)


def test_two_sites_make_the_same_bundle_of_the_same_history(sites: Sites) -> None:
    sites.here.push(1, rows=500)
    sites.here.push(2, rows=500)
    sites.here.repository.tag("v1", "main~1")
    created = sites.create()
    sites.apply()
    again = sites.there.repository.bundle(sites.bundle.with_name("back.plait"))
    assert again.sha256 == created.sha256


def test_shared_tensors_travel_once(sites: Sites) -> None:
    rows = 4_000
    large = rows * 512 * 2
    for seed in range(4):
        sites.here.push(seed, rows=rows)
    created = sites.create()
    assert created.size < large + 4 * 20_000 + DOCUMENTS
    with tap(sites.there.client.registry.port) as wiretap:
        sites.there.client.via = wiretap.url
        applied = sites.there.client.facts("bundle", "apply", sites.bundle, sites.name, "--create")
        assert applied["bytes_sent"] <= wiretap.sent < large + 4 * 20_000 + DOCUMENTS
    assert applied["commits"] == 4
    sites.verify_same()
    sites.verify_same("main~2")


def test_incremental_bundle_carries_the_change_alone(sites: Sites) -> None:
    sites.here.push(1, rows=4_000)
    sites.create()
    sites.apply()
    sites.here.push(2, rows=4_000)
    created = sites.create(since="main~1")
    assert created.size < DOCUMENTS
    assert len(created.contents.prerequisites) == 1
    verified = sites.there.client.facts("bundle", "verify", sites.bundle)
    assert verified["files_in_part"] == 1
    applied = sites.apply()
    assert applied.bytes_stored < DOCUMENTS
    assert changes(applied) == {"main": "moved"}
    sites.verify_same()


def test_applying_again_does_nothing(sites: Sites) -> None:
    sites.here.push(1)
    sites.here.repository.tag("v1", "main")
    sites.create()
    sites.apply()
    objects = sites.there.client.registry.objects()
    again = sites.apply()
    assert set(changes(again).values()) == {"kept"}
    assert (again.commits, again.bytes_stored) == (0, 0)
    assert sites.there.client.registry.objects() == objects


def test_missing_prerequisites_are_named(sites: Sites) -> None:
    base = sites.here.push(1)
    sites.here.push(2)
    sites.create(since="main~1")
    sites.there.client.run("repo", "create", sites.name)
    error = sites.there.client.refusal("bundle", "apply", sites.bundle, sites.name)
    assert error["kind"] == "prerequisite-missing"
    assert error["details"]["missing"] == [base]
    assert base[:12] in error["message"]
    assert sites.there.branches() == {}


def test_branch_that_went_elsewhere_is_kept_unless_forced(sites: Sites) -> None:
    sites.here.push(1)
    sites.create()
    sites.apply()
    theirs = sites.there.push(50)
    sites.here.push(2)
    sites.here.push(3, branch="extra")
    sites.create()
    error = sites.refusal()
    assert error.kind == "ref-not-fast-forward"
    assert "Nothing was pushed" in error.message
    assert sites.there.branches() == {"main": theirs}
    assert changes(sites.apply("extra")) == {"extra": "new"}
    assert changes(sites.apply(force=True)) == {"main": "forced", "extra": "kept"}
    sites.verify_same()


def test_branch_that_is_further_on_is_kept(sites: Sites) -> None:
    sites.here.push(1)
    sites.create()
    sites.apply()
    theirs = sites.there.push(50)
    assert changes(sites.apply()) == {"main": "kept"}
    assert sites.there.branches() == {"main": theirs}


def test_branch_that_is_behind_the_prerequisites_moves_forward(sites: Sites) -> None:
    sites.here.push(1)
    sites.create()
    sites.apply()
    sites.here.push(2)
    sites.here.repository.branch("lead", "main")
    sites.create("lead")
    sites.apply()
    sites.here.push(3)
    sites.create("main", since="lead")
    # There, main is at the first commit, and the second, which is counted on, is on lead only.
    assert changes(sites.apply()) == {"main": "moved"}
    sites.verify_same()


def test_tag_never_moves(sites: Sites) -> None:
    sites.here.push(1)
    sites.here.repository.tag("v1", "main")
    sites.create()
    sites.there.push(50)
    sites.there.repository.tag("v1", "main")
    for force in (False, True):
        error = sites.refusal("v1", force=force)
        assert error.kind == "ref-update-conflict"
        assert "tags never move" in error.message


def test_ref_of_another_kind_and_a_retired_name_are_refused(sites: Sites) -> None:
    sites.here.push(1)
    sites.here.repository.tag("v1", "main")
    sites.here.repository.tag("v2", "main")
    sites.create()
    sites.there.push(50)
    sites.there.repository.branch("v1", "main")
    sites.there.repository.tag("v2", "main")
    sites.there.repository.delete_ref("v2")
    assert sites.refusal("v1").kind == "ref-exists"
    assert sites.refusal("v2").kind == "tag-name-retired"
    assert sites.refusal("v3").kind == "ref-not-found"


def test_tag_off_the_branches_brings_its_commits(sites: Sites) -> None:
    sites.here.push(1)
    sites.here.push(2, branch="gone")
    sites.here.repository.tag("v2", "gone")
    sites.here.repository.delete_ref("gone")
    sites.create()
    assert sites.apply().commits == 2
    sites.verify_same("v2")


def test_damaged_bundle_changes_nothing(sites: Sites) -> None:
    sites.here.push(1, rows=100)
    sites.create()
    data = bytearray(sites.bundle.read_bytes())
    data[len(data) // 2] ^= 1
    sites.bundle.write_bytes(data)
    there = sites.there.client
    assert there.refusal("bundle", "verify", sites.bundle)["kind"] == "digest-mismatch"
    assert sites.refusal().kind == "digest-mismatch"
    with pytest.raises(NotFound):
        sites.there.repository.refs()


def test_working_copy_makes_the_bundle_that_its_registry_makes(sites: Sites) -> None:
    sites.here.push(1, rows=300)
    sites.here.push(2, rows=300)
    created = sites.create("main")
    here, copy = sites.here.client, sites.bundle.with_name("copy")
    here.run("clone", sites.name, copy)
    path = sites.bundle.with_name("offline.plait")
    offline = here.facts("bundle", "create", path, "--ref", "main", cwd=copy)
    assert offline["sha256"] == created.sha256
    new = here.facts("bundle", "create", path, "--since", "main~1", "--force", cwd=copy)
    assert new["commits"] == 1
    refused = here.try_run("bundle", "create", "x.plait", cwd=copy)
    assert refused.status == 2
    assert "outside" in refused.err


def test_weights_that_are_not_finite_need_a_word(sites: Sites) -> None:
    tensors = lora_tensors(seed=1)
    folder = write_adapter(sites.here.folder, [spoil(tensors[0], 0x7FC0), *tensors[1:]])
    options = PushOptions(create=True, allow_non_finite=True)
    sites.here.repository.push(folder, message="NaN", options=options)
    sites.create()
    assert sites.refusal().kind == "tensor-not-finite"
    there = sites.there.client
    there.run("bundle", "apply", sites.bundle, sites.name, "--allow-non-finite")
    sites.verify_same()


@pytest.mark.slow
def test_create_that_was_killed_leaves_the_old_file_and_can_be_repeated(sites: Sites) -> None:
    sites.here.push_large(mebibytes=24, seed=11)
    here = sites.here.client
    sites.bundle.write_bytes(b"the old file")
    with tap(here.registry.port) as wiretap:
        here.via = wiretap.url
        for share in (0.1, 0.5, 1.0):
            wiretap.reset()
            limit = int(24 * MIB * share)
            create = here.start("bundle", "create", sites.bundle, sites.name, "--force")
            wait_for(received(wiretap, limit), limit=30, what="bytes")
            create.send_signal(signal.SIGKILL)
            outcome = here.finish(create)
            if outcome.status == -signal.SIGKILL:
                assert sites.bundle.read_bytes() == b"the old file"
    sites.create()
    verify_bundle(sites.bundle)
    assert [path.name for path in sites.bundle.parent.glob(".*")] == []


@pytest.mark.slow
def test_apply_that_was_killed_is_gone_on_with(sites: Sites) -> None:
    size = 80
    sites.here.push_large(mebibytes=size, seed=12)
    sites.create()
    there = sites.there.client
    there.run("repo", "create", sites.name)
    with tap(there.registry.port) as wiretap:
        there.via = wiretap.url
        apply = there.start("bundle", "apply", sites.bundle, sites.name)
        wait_for(sent(wiretap, size * MIB // 2), limit=60, what="bytes")
        apply.kill()
        there.finish(apply)
        assert sites.there.branches() == {}
        wiretap.reset()
        applied = there.facts("bundle", "apply", sites.bundle, sites.name)
    assert applied["bytes_sent"] <= wiretap.sent < size * MIB * 0.9
    sites.verify_same()


class Counting(HttpTransport):
    """Counts its requests."""

    calls = 0

    def call(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        return super().call(*arguments, **options)


def test_long_history_needs_no_request_a_commit(sites: Sites) -> None:
    tip = sites.here.push(1)
    name = RepositoryName.parse(sites.name)
    here = Counting(sites.here.client.registry.url, sites.here.client.registry.token)
    there = Counting(sites.there.client.registry.url, sites.there.client.registry.token)
    try:
        _grow(here, name, CommitId(tip), 299)
        here.calls = 0
        created = create_bundle(RegistrySource(here, name), BundleWish(sites.bundle))
        assert len(created.contents.commits) == 300
        applied = apply_bundle(there, name, ApplyWish(sites.bundle, create=True))
        assert applied.commits == 300
        assert here.calls < 10
        assert there.calls < 15
    finally:
        here.close()
        there.close()
    sites.verify_same()


def _grow(transport: HttpTransport, name: RepositoryName, tip: CommitId, count: int) -> None:
    """Push commits on top of one, with its files."""
    source = RegistrySource(transport, name)
    manifest = source.load_commit(tip).manifest
    commits: list[Commit] = []
    parent = tip
    for number in range(count):
        commits.append(
            Commit(
                manifest,
                (parent,),
                Person("Ada", ""),
                "2026-11-24T06:07:00Z",
                f"Number {number}",
                Base("example/base-1b"),
                Origin(OriginKind.TRAINING),
            )
        )
        parent = commits[-1].id
    update = RefUpdate(RefKind.BRANCH, DEFAULT_BRANCH, tip, parent)
    request = PushRequest(update, commits, source.load_manifests([manifest]), _find_nothing)
    push_commits(transport, name, request)


def _find_nothing(digest: str) -> Path:
    raise AssertionError(f"{digest} is there already")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_far_below_the_size_of_a_file(sites: Sites) -> None:
    sites.here.push_large(mebibytes=240, seed=13)
    for site, words in (
        (sites.here, ["create", str(sites.bundle), sites.name]),
        (sites.there, ["verify", str(sites.bundle)]),
        (sites.there, ["apply", str(sites.bundle), sites.name, "--create"]),
    ):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "bundle", *words],
            env=site.client.environment(),
            check=True,
            capture_output=True,
            timeout=100,
        )
        assert int(done.stderr.split()[-1]) < 150 * 1024  # KiB
