"""What a ref reaches can be read, whatever pushes, retention and garbage collection do.

At every step of each of them; and in the end nothing else is left.

Pushes re-use few different tensors, so that they build on what is being swept; the run of garbage
collection is interrupted by pushes, and a push that completes by runs of garbage collection.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from care.interleaving import Action, Schedule, SteppedDatabase, SteppedObjects
from care.worlds import NOTHING, World
from database_suite.databases import copy_of
from plait import wire
from plait.errors import PlaitError
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait_registry.adapters.memory.database import MemoryDatabase
from plait_registry.adapters.memory_objects import MemoryObjects
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.garbage import RowKind
from plait_registry.domain.ports import Database
from plait_registry.services.check_store import CheckStore, Depth
from plait_registry.services.stores import Stores
from reference.memory_registry import CONFIG_BYTES, NAME, Version, make_version

OTHER = RepositoryName("team", "other")
BRANCHES = ("main", "dev")
DAY = timedelta(days=1)
# Large enough for tensor-level dedup: files come to share objects.
TENSORS = {name: bytes([number]) * 70_000 for number, name in enumerate("abc")}
FINE = frozenset(
    {
        "busy", "commit-not-found", "file-expired", "object-not-found", "parent-unknown",
        "push-not-found", "push-superseded", "ref-not-fast-forward", "ref-not-found",
        "ref-update-conflict", "upload-not-found", "ref-exists", "revision-not-found",
        "default-branch", "tag-name-retired", "invalid-input", "invalid-commit",
    }
)  # fmt: skip
"""How a step may fail that came too late."""

repositories = st.sampled_from((NAME, OTHER))
branches = st.sampled_from(BRANCHES)
graces = st.sampled_from((NOTHING, NOTHING, DAY, 3 * DAY))
tensors = st.lists(st.sampled_from(sorted(TENSORS)), min_size=1, max_size=2, unique=True)


class OpenPush:
    """A push under way."""

    def __init__(self, plan: wire.PushPlan, version: Version, name: RepositoryName) -> None:
        self.plan = plan
        self.version = version
        self.name = name


class GarbageMachine(RuleBasedStateMachine):
    """Drives a registry whose every step may be interrupted."""

    open_database: Callable[[], Database]

    def __init__(self) -> None:
        super().__init__()
        database = type(self).open_database()
        store, documents, self.schedule = MemoryObjects(), MemoryObjects(), Schedule()
        stores = Stores(
            SteppedObjects(store, self.schedule), SteppedObjects(documents, self.schedule)
        )
        stepped = SteppedDatabase(database, self.schedule), stores
        self.world = World(database, stepped=stepped, store=store, documents=documents)
        self.world.make_repository(OTHER)
        self.versions: dict[str, Version] = {}
        self.pushes: list[OpenPush] = []
        self.numbers = itertools.count()

    # --- rules ---

    @rule(name=repositories, branch=branches, held=tensors, on_top=st.booleans())
    def begin(self, name: RepositoryName, branch: str, held: list[str], *, on_top: bool) -> None:
        self._try(lambda: self._begin(name, branch, held, on_top=on_top))

    @rule(number=st.integers(0, 3))
    def upload(self, number: int) -> None:
        self._try(lambda: self._upload(number))

    @rule(number=st.integers(0, 3), waits=st.lists(st.integers(0, 3), max_size=2), grace=graces)
    def complete(self, number: int, waits: list[int], grace: timedelta) -> None:
        """Complete a push while garbage is collected."""
        self._interrupt([(wait, lambda: self._collect(grace)) for wait in waits])
        self._try(lambda: self._complete(number))

    @rule(
        name=repositories,
        branch=branches,
        held=tensors,
        waits=st.lists(st.integers(0, 12), max_size=2),
    )
    def push(self, name: RepositoryName, branch: str, held: list[str], waits: list[int]) -> None:
        self._interrupt([(wait, lambda: self._collect(NOTHING)) for wait in waits])
        self._try(lambda: self._push(name, branch, held))

    @rule(name=repositories, branch=branches)
    def delete_branch(self, name: RepositoryName, branch: str) -> None:
        self._try(lambda: self.world.delete_branch(branch, name))

    @rule(name=repositories, number=st.integers(0, 20))
    def tag(self, name: RepositoryName, number: int) -> None:
        self._try(lambda: self._tag(name, number))

    @rule(days=st.none() | st.integers(0, 2))
    def keep_untagged(self, days: int | None) -> None:
        self.world.data.transact(
            lambda it: it.namespaces.update("team", quota_bytes=None, keep_untagged_days=days)
        )

    @rule(days=st.integers(1, 3))
    def let_time_pass(self, days: int) -> None:
        self.world.clock.move(days * DAY)

    @rule(
        grace=graces,
        waits=st.lists(st.integers(0, 8), max_size=4),
        held=tensors,
        name=repositories,
        kinds=st.lists(st.sampled_from("bucpdt"), min_size=4, max_size=4),
    )
    def collect(
        self,
        grace: timedelta,
        waits: list[int],
        held: list[str],
        name: RepositoryName,
        kinds: list[str],
    ) -> None:
        """Collect garbage while others push, tag and delete."""
        actions: dict[str, Action] = {
            "b": lambda: self._begin_on_top(name, held),
            "u": lambda: self._upload(0),
            "c": lambda: self._complete(0),
            "p": lambda: self._push(name, "main", held),
            "d": lambda: self.world.delete_branch("dev", name),
            "t": lambda: self._tag(name, 0),
        }
        self._interrupt([(wait, actions[kind]) for wait, kind in zip(waits, kinds, strict=False)])
        self._collect(grace)

    # --- invariants ---

    @invariant()
    def what_refs_reach_can_be_read(self) -> None:
        self.schedule.plan([])
        for name in (NAME, OTHER):
            for commit in self._reachable(name):
                self._verify_readable(self.versions[commit], name)

    def teardown(self) -> None:
        """End all pushes: then nothing is left that no ref reaches."""
        self.schedule.plan([])
        self._verify_checked()
        self.world.clock.move(DAY)
        self._collect(NOTHING)
        assert self.world.stored() == self.world.needed()
        with self.world.data.read() as records:
            for kind in RowKind:
                assert not records.remains.list_unheld(kind)
            assert not records.remains.list_loose()
            for item in records.held.list_repositories():
                held = {commit.id for commit in records.held.load_commits(item.id)}
                assert held == self._reachable(item.name)
        self._verify_checked()
        self.what_refs_reach_can_be_read()

    # --- steps ---

    def _verify_checked(self) -> None:
        check = CheckStore(self.world.data, self.world.stores, self.world.clock)
        assert [it for it in check(Depth()) if it.is_damage] == []

    def _verify_readable(self, version: Version, name: RepositoryName) -> None:
        for file, data in version.contents.items():
            with self.world.data.read() as records:
                owner = records.repositories.get(name).id
                expired = records.held.find_expired(owner, [file])
            # The commit itself is there, and so are its small files.
            assert not expired or data != CONFIG_BYTES
            assert expired or self.world.read_file(file, name) == data

    def _begin(
        self, name: RepositoryName, branch: str, held: list[str], *, on_top: bool
    ) -> OpenPush:
        head = self.world.head(branch, name)
        parents = [head] if head is not None and on_top else []
        made = {key: TENSORS[key] for key in held}
        # Few different messages, so that some pushes bring a commit that was there before.
        version = make_version(f"{next(self.numbers) % 5}", *parents, tensors=made)
        self.versions[version.id] = version
        plan = self.world.begin(version, name=name, branch=branch, expected=head, force=not on_top)
        push = OpenPush(plan, version, name)
        self.pushes.insert(0, push)
        return push

    def _begin_on_top(self, name: RepositoryName, held: list[str]) -> None:
        self._begin(name, "dev", held, on_top=True)

    def _upload(self, number: int) -> None:
        if self.pushes:
            push = self.pushes[number % len(self.pushes)]
            self.world.upload(push.plan, push.version, push.name)

    def _complete(self, number: int) -> None:
        if self.pushes:
            push = self.pushes.pop(number % len(self.pushes))
            self.world.complete(push.plan, push.name)

    def _push(self, name: RepositoryName, branch: str, held: list[str]) -> None:
        push = self._begin(name, branch, held, on_top=True)
        self.world.upload(push.plan, push.version, push.name)
        self.pushes.remove(push)
        self.world.complete(push.plan, push.name)

    def _tag(self, name: RepositoryName, number: int) -> None:
        if self.versions:
            commit = sorted(self.versions)[number % len(self.versions)]
            self.world.tag(f"v{next(self.numbers)}", commit, name)

    def _collect(self, grace: timedelta) -> None:
        self.world.collect(grace=grace)

    def _interrupt(self, actions: list[tuple[int, Action]]) -> None:
        def trying(action: Action) -> Action:
            return lambda: self._try(action)

        self.schedule.plan([(wait, trying(action)) for wait, action in actions])

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except PlaitError as error:
            if error.kind not in FINE:
                raise

    def _reachable(self, name: RepositoryName) -> set[str]:
        with self.world.data.read() as records:
            repository = records.repositories.get(name)
            pending: list[CommitId] = [ref.target for ref in records.refs.list(repository.id)]
            found: set[str] = set()
            while pending:
                commit = pending.pop()
                if commit not in found:
                    found.add(commit)
                    pending.extend(CommitId(it) for it in self.versions[commit].commit["parents"])
            return found


def run_machine(open_database: Callable[[], Database], *, examples: int, steps: int) -> None:
    """Run the machine, the same steps at every run."""

    class Machine(GarbageMachine):
        pass

    Machine.open_database = staticmethod(open_database)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            # To explain a failure takes longer than a test may.
            phases=[Phase.generate, Phase.shrink],
        ),
    )


def test_nothing_needed_is_swept_in_memory() -> None:
    run_machine(MemoryDatabase, examples=40, steps=25)


@pytest.mark.slow
def test_nothing_needed_is_swept_from_sqlite(tmp_path: Path) -> None:
    template = tmp_path / "template.db"
    with closing(SqlDatabase(f"sqlite:///{template}")) as database:
        database.migrate()
    with ExitStack() as opened:

        def open_copy() -> Database:
            # One at a time: the machine before has ended.
            opened.close()
            return opened.enter_context(closing(SqlDatabase(copy_of(template, tmp_path))))

        run_machine(open_copy, examples=15, steps=20)
