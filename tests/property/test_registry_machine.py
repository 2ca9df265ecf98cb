"""A registry does what a few dictionaries do, whatever the order of pushes, refs and deletions.

The same machine drives the services over the twins in memory, and a real registry over HTTP.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from database_suite.databases import emptied_postgresql
from e2e.made_adapters import CONFIG, WEIGHTS, MadeTensor, random_tensor, serialize
from e2e.programs import Registry, Transcript
from plait import wire
from plait.errors import PlaitError
from plait.http_transport import HttpTransport
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.digesting import digest_file
from plait.model.ids import CommitId, hash_bytes
from plait.model.manifest import Manifest
from plait.model.paths import FilePath
from plait_registry.adapters.sql.database import SqlDatabase
from reference.registry_drivers import Driver, HttpDriver, ServiceDriver
from reference.registry_model import ModelCommit, ModelUpdate, Refused, RegistryModel

Files = tuple[tuple[str, bytes], ...]
"""Path and bytes of each file, sorted."""

BRANCHES = ("main", "dev", "feature/x")
NAMES = (*BRANCHES, "v1", "v2")
UNKNOWN = str(hash_bytes(b"a commit that nobody has"))
CONFIG_BYTES = json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16}).encode()
# Large enough for tensor-level dedup: a version with a stored one travels without it.
LARGE = [random_tensor("large", (40_000,), seed) for seed in range(2)]


def make_files(large: int, small: int, extra: int) -> Files:
    """Return the files of a version; few different ones, so that they repeat."""
    tensors: list[MadeTensor] = [LARGE[large], random_tensor("small", (16, small + 1), small)]
    files = {CONFIG: CONFIG_BYTES, WEIGHTS: serialize(tensors)}
    if extra:
        files["notes/readme.md"] = b"x" * (extra - 1)
    return tuple(sorted(files.items()))


kinds = st.sampled_from(("branch", "tag"))
seldom = st.integers(0, 4).map(lambda number: number == 4)
branches = st.sampled_from(BRANCHES)
names = st.sampled_from(NAMES)
versions = st.builds(make_files, st.integers(0, 1), st.integers(0, 3), st.integers(0, 2))
revisions = st.builds(
    "{}{}".format,
    st.sampled_from(("HEAD", "main", *NAMES)),
    st.sampled_from(("", "~", "~2", "~3", "^", "^2", "~1^2", "^0", "~9")),
)


class RegistryMachine(RuleBasedStateMachine):
    """Drives a registry and its model through the same steps."""

    make_driver: Callable[[], Driver]
    commits = Bundle("commits")

    def __init__(self) -> None:
        super().__init__()
        self.model = RegistryModel()
        self.driver = type(self).make_driver()
        self.documents: dict[str, Commit] = {}
        self.times = itertools.count()

    # --- rules ---

    @initialize(target=commits, files=st.lists(versions, min_size=4, max_size=4))
    def push_first_versions(self, files: list[Files]) -> MultipleResults[str]:
        line = self._write_line(None, files)
        self._push(ModelUpdate("branch", "main", None, line[-1].id, force=False), line)
        self.create_ref("branch", "dev", "main~1")
        self.create_ref("tag", "v1", "HEAD~2")
        return multiple(*(commit.id for commit in line))

    @rule(
        target=commits,
        files=st.lists(versions, min_size=1, max_size=3),
        branch=branches,
        merged=st.none() | commits,
    )
    def push_on_top(
        self, files: list[Files], branch: str, merged: str | None
    ) -> MultipleResults[str]:
        tip = self._target(branch)
        line = self._write_line(tip, files)
        if merged is not None and merged != tip:
            parents = [line[-1].id] if line else []
            line.append(self._write([*parents, merged], files[0], OriginKind.MERGE))
        return self._push(ModelUpdate("branch", branch, tip, line[-1].id, force=False), line)

    @rule(
        target=commits,
        parent=commits | st.just(UNKNOWN),
        files=versions,
        branch=branches,
        seen=st.none() | commits,
        force=st.booleans(),
    )
    def push_beside(
        self, parent: str, files: Files, branch: str, seen: str | None, *, force: bool
    ) -> MultipleResults[str]:
        """Push what may leave commits behind, from a state that may be stale."""
        commit = self._write([parent], files)
        expected = self._target(branch) if seen is None else seen
        return self._push(ModelUpdate("branch", branch, expected, commit.id, force), [commit])

    @rule(target=commits, branch=branches, taken_back=commits)
    def revert(self, branch: str, taken_back: str) -> MultipleResults[str]:
        """Continue a branch with the files that an earlier commit began from."""
        tip = self._target(branch)
        earlier = self.model.commits[taken_back]
        source = self.model.commits[earlier.parents[0]] if earlier.parents else earlier
        commit = self._write([tip] if tip else [], source.files, OriginKind.REVERT)
        update = ModelUpdate("branch", branch, tip, commit.id, force=False)
        return self._push(update, [commit], with_manifests=False)

    @rule(commit=commits, name=names, kind=kinds)
    def push_ref_to_known_commit(self, commit: str, name: str, kind: str) -> None:
        expected = self._target(name) if kind == "branch" else None
        self._push(ModelUpdate(kind, name, expected, commit, force=False), [])

    @rule(kind=kinds, name=names, revision=revisions)
    def create_ref(self, kind: str, name: str, revision: str) -> None:
        self._both(
            lambda: self.model.create_ref(kind, name, revision),
            lambda: self.driver.create_ref(kind, name, revision),
        )

    @rule(name=branches, commit=commits, seen=st.none() | commits, force=st.booleans())
    def move_branch(self, name: str, commit: str, seen: str | None, *, force: bool) -> None:
        expected = seen or self._target(name) or commit
        update = ModelUpdate("branch", name, expected, commit, force)
        self._both(
            lambda: self.model.move_branch(update),
            lambda: self.driver.move_branch(name, wire.RefMove(expected, commit, force)),
        )

    @rule(name=names, other_kind=seldom, other=commits, stale=seldom)
    def delete_ref(self, name: str, other: str, *, other_kind: bool, stale: bool) -> None:
        current = self.model.refs.get(name)
        kind = "tag" if current is not None and current.kind == "tag" else "branch"
        if other_kind:
            kind = "branch" if kind == "tag" else "tag"
        expected = other if stale else self._target(name) or other
        self._both(
            lambda: self.model.delete_ref(kind, name, expected),
            lambda: self.driver.delete_ref(kind, name, expected),
        )

    @rule(revision=revisions)
    def resolve(self, revision: str) -> None:
        self._both(lambda: self.model.resolve(revision), lambda: self.driver.resolve(revision))

    @rule(commit=commits, steps=st.sampled_from(("", "~", "^2", "~2")))
    def resolve_abbreviation(self, commit: str, steps: str) -> None:
        text = commit[:9] + steps
        self._both(lambda: self.model.resolve(text), lambda: self.driver.resolve(text))

    @rule(revision=revisions, hidden=st.lists(commits, max_size=2), page=st.integers(1, 4))
    def log(self, revision: str, hidden: list[str], page: int) -> None:
        self._both(
            lambda: self.model.log(revision, hidden),
            lambda: self.driver.log(revision, exclude=hidden, page=page),
        )

    @rule(left=commits, right=commits)
    def merge_bases(self, left: str, right: str) -> None:
        self._both(
            lambda: self.model.merge_bases(left, right),
            lambda: self.driver.merge_bases(left, right),
        )

    @rule(commit=commits)
    def read_version(self, commit: str) -> None:
        self._verify_readable(commit, set())

    # --- invariants ---

    @invariant()
    def refs_are_equal(self) -> None:
        expected = {name: (ref.kind, ref.target) for name, ref in self.model.refs.items()}
        assert self.driver.refs() == expected

    def teardown(self) -> None:
        """Read all that is reachable once, at the end: every byte of every version."""
        reachable = {
            commit
            for ref in self.model.refs.values()
            for commit in self.model.ancestors(ref.target)
        }
        read: set[str] = set()
        for commit in sorted(reachable):
            self._verify_readable(commit, read)

    # --- steps ---

    def _push(
        self, update: ModelUpdate, commits: Sequence[ModelCommit], *, with_manifests: bool = True
    ) -> MultipleResults[str]:
        """Push to both, and return the commits that are there now."""
        manifests = {self.documents[c.id].manifest: describe(c.files) for c in commits}
        request = wire.NewPush(
            wire.PushRef(update.kind, update.name, update.expected, update.new, update.force),
            wire.StagedCommits(
                [self.documents[commit.id].to_json() for commit in commits],
                [m.to_json() for m in manifests.values()] if with_manifests else [],
            ),
        )
        contents = {str(hash_bytes(d)): d for commit in commits for _, d in commit.files}
        self._both(
            lambda: self.model.push(update, commits),
            lambda: self.driver.push(request, contents),
            compare=False,
        )
        return multiple(*(item.id for item in commits if item.id in self.model.commits))

    def _both(
        self, expected: Callable[[], object], actual: Callable[[], object], *, compare: bool = True
    ) -> None:
        refusal: str | None = None
        wanted: object = None
        try:
            wanted = expected()
        except Refused as refused:
            refusal = refused.kind
        if refusal is None:
            found = actual()
            assert found == wanted or not compare
            return
        with pytest.raises(PlaitError) as caught:
            actual()
        assert caught.value.kind == refusal

    def _write(
        self,
        parents: Sequence[str],
        files: Files,
        origin: OriginKind = OriginKind.TRAINING,
    ) -> ModelCommit:
        # Times are no order of history: some commits are older than their parents.
        minute = next(self.times) * 37 % 60
        document = Commit(
            manifest=describe(files).id,
            parents=tuple(CommitId(parent) for parent in parents),
            author=Person("Ada", "ada@example.org"),
            time=f"2026-01-01T00:{minute:02}:00Z",
            message=f"version {len(self.documents)}",
            base=Base("example/base"),
            origin=Origin(origin),
        )
        self.documents[document.id] = document
        return ModelCommit(document.id, tuple(parents), document.time, files)

    def _write_line(self, tip: str | None, files: Sequence[Files]) -> list[ModelCommit]:
        """Return commits on top of each other."""
        line: list[ModelCommit] = []
        for version in files:
            below = line[-1].id if line else tip
            line.append(self._write([below] if below else [], version))
        return line

    def _verify_readable(self, commit: str, read: set[str]) -> None:
        """Compare every byte of a version, but for files that were `read` before."""
        manifest = Manifest.from_json(self.driver.manifest(self.documents[commit].manifest))
        files = dict(self.model.commits[commit].files)
        assert [file.path for file in manifest.files] == sorted(files)
        for file in manifest.files:
            if file.sha256 not in read:
                assert self.driver.read(file.sha256) == files[file.path]
                read.add(file.sha256)

    def _target(self, name: str) -> str | None:
        ref = self.model.refs.get(name)
        return None if ref is None else ref.target


def describe(files: Sequence[tuple[str, bytes]]) -> Manifest:
    """Return the manifest of a version."""
    return Manifest.of(digest_file(FilePath(path), len(data), [data]) for path, data in files)


def run_machine(make: Callable[[], Driver], *, examples: int, steps: int) -> None:
    """Run the machine against the drivers that `make` returns, the same steps at every run."""

    class Machine(RegistryMachine):
        make_driver = staticmethod(make)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_services_do_what_the_model_does() -> None:
    run_machine(lambda: ServiceDriver(RepositoryName("team", "one")), examples=50, steps=30)


@pytest.mark.slow
def test_services_over_postgresql_do_what_the_model_does() -> None:
    with closing(SqlDatabase(emptied_postgresql())) as database:

        def make() -> ServiceDriver:
            emptied_postgresql()
            return ServiceDriver(RepositoryName("team", "one"), database)

        run_machine(make, examples=10, steps=25)


@pytest.mark.slow
def test_registry_over_http_does_what_the_model_does(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "data", Transcript()).start()
    transport = HttpTransport(registry.url, registry.token)
    numbers = itertools.count()
    try:
        run_machine(
            lambda: HttpDriver(transport, RepositoryName("team", f"r{next(numbers)}")),
            examples=10,
            steps=25,
        )
    finally:
        transport.close()
        registry.kill()
