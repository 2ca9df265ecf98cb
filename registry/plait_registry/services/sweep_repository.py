"""Letting a repository go of what it no longer needs.

(1) plan in one read: which commits no ref and no open push reaches; (2) mark them, and take marks
away from those that are reached again; (3) unlink those that were marked before the grace, children
first; (4) to (6) the same for the files that no reachable commit names, once no other names them.

A plan holds for one version of the repository, a number that grows with whatever it comes to name
or hold. Every transaction that marks or unlinks looks at that number first; where it has grown, the
plan is made anew. A push that was begun and not completed does not make it grow: it looks at its
own needs when it completes.

Retention: the weights of a commit that no ref points at, and that the registry has had for longer
than the namespace keeps them, count as needed by nobody. The commit, its manifest and its small
files stay, so that history stays whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait_registry.domain.garbage import HeldCommit, KeptRepository, MarkKind
from plait_registry.domain.manifest_files import find_files
from plait_registry.domain.moments import shift
from plait_registry.domain.ports import Database, Records
from plait_registry.domain.reach import choose_due, find_outdated, find_unreachable, split
from plait_registry.domain.records import PushRow, PushState, RepositoryId
from plait_registry.services.garbage_report import GarbageReport, RepositoryGarbage, Run

MOST_PLANS = 5
"""A repository that changes more often than that during a run is left to the next one."""
BATCH = 500
"""Rows that one transaction unlinks."""
_MANIFESTS = 100

T = TypeVar("T")


class _ChangedError(Exception):
    """The repository changed since the plan was made."""


@dataclass(frozen=True, slots=True)
class _FilePlan:
    """What a repository's links to files are for."""

    version: int
    unneeded: Mapping[ObjectId, int]
    """With their sizes."""
    expired: frozenset[ObjectId]
    """Those of them that a commit which refs reach names."""
    waiting: frozenset[ObjectId]
    """Those of them that a commit names whose own grace has not passed."""


class SweepRepository:
    """The second and third layer of garbage collection, for one repository at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, repository: KeptRepository, run: Run, report: GarbageReport) -> None:
        """Sweep, and add what went to the report."""
        found = RepositoryGarbage(str(repository.name))
        if run.sweep and repository.keep_untagged_days is not None:
            self._database.transact(lambda it: it.held.date_commits(repository.id, run.now))
        done = _try_often(lambda: self._sweep_commits(repository, run, found))
        if not (_try_often(lambda: self._sweep_files(repository, run, found)) and done):
            report.busy_repositories.append(found.name)
        if found.commits or found.files:
            report.repositories.append(found)

    def _sweep_commits(
        self, repository: KeptRepository, run: Run, found: RepositoryGarbage
    ) -> None:
        with self._database.read() as records:
            version = records.held.read_version(repository.id)
            unreachable = _find_unreachable(records, repository, run)
            marks = records.marks.load(MarkKind.COMMIT, repository.id)
        due = _choose_due(unreachable, marks, run)
        if not run.sweep:
            found.commits += len(due)
            return

        def mark(records: Records) -> None:
            _verify_unchanged(records, repository.id, version)
            _update_marks(
                records, MarkKind.COMMIT, repository.id, [commit.id for commit in unreachable], run
            )

        def unlink(batch: Sequence[CommitId]) -> Callable[[Records], None]:
            def work(records: Records) -> None:
                _verify_unchanged(records, repository.id, version)
                records.held.unlink_commits(repository.id, batch)
                records.marks.remove(MarkKind.COMMIT, repository.id, batch)

            return work

        if unreachable or marks:
            self._database.transact(mark)
        for batch in chunks(due, BATCH):
            self._database.transact(unlink(batch))
            found.commits += len(batch)

    def _sweep_files(self, repository: KeptRepository, run: Run, found: RepositoryGarbage) -> None:
        with self._database.read() as records:
            plan = _plan_files(records, repository, run)
            marks = records.marks.load(MarkKind.FILE, repository.id)
        due = [
            file
            for file in plan.unneeded
            if marks.get(file, run.now) <= run.cutoff and file not in plan.waiting
        ]

        def mark(records: Records) -> None:
            _verify_unchanged(records, repository.id, plan.version)
            _update_marks(records, MarkKind.FILE, repository.id, plan.unneeded, run)

        def unlink(batch: Sequence[ObjectId]) -> Callable[[Records], None]:
            def work(records: Records) -> None:
                _verify_unchanged(records, repository.id, plan.version)
                records.held.unlink_files(repository.id, batch)
                expired = [file for file in batch if file in plan.expired]
                records.held.expire_files(repository.id, expired, run.now)
                records.marks.remove(MarkKind.FILE, repository.id, batch)

            return work

        if run.sweep and (plan.unneeded or marks):
            self._database.transact(mark)
        for batch in chunks(due, BATCH):
            if run.sweep:
                self._database.transact(unlink(batch))
            found.files += len(batch)
            found.expired_files += len(plan.expired.intersection(batch))
            found.bytes += sum(plan.unneeded[file] for file in batch)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most that length."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _try_often(step: Callable[[], None]) -> bool:
    """Run a step until the repository stands still for so long; tell whether it did."""
    for _ in range(MOST_PLANS):
        try:
            step()
        except _ChangedError:
            continue
        return True
    return False


def _verify_unchanged(records: Records, repository: RepositoryId, version: int) -> None:
    if records.held.read_version(repository) != version:
        raise _ChangedError


def _update_marks(
    records: Records, kind: MarkKind, repository: RepositoryId, ids: Collection[str], run: Run
) -> None:
    """Make the marks of a repository those on `ids`; what was marked before keeps its time."""
    earlier = records.marks.load(kind, repository)
    records.marks.remove(kind, repository, sorted(earlier.keys() - set(ids)))
    records.marks.insert(kind, repository, [item for item in ids if item not in earlier], run.now)


def _open_pushes(records: Records, repository: RepositoryId, run: Run) -> list[PushRow]:
    return [
        push
        for push in records.remains.list_pushes(repository)
        if push.state is PushState.OPEN and push.created_at > run.cutoff
    ]


def _find_roots(records: Records, repository: RepositoryId, run: Run) -> set[CommitId]:
    roots = {ref.target for ref in records.refs.list(repository)}
    for push in _open_pushes(records, repository, run):
        commits, _ = records.pushes.load_staged(push.id)
        roots.add(push.update.new)
        roots.update(note.commit for note in push.notes)
        for staged in commits:
            roots.update(Commit.from_bytes(staged.body).parents)
    return roots


def _find_unreachable(records: Records, repository: KeptRepository, run: Run) -> list[HeldCommit]:
    commits = records.held.load_commits(repository.id)
    return find_unreachable(commits, _find_roots(records, repository.id, run))


def _choose_due(
    unreachable: Sequence[HeldCommit], marks: Mapping[str, str], run: Run
) -> list[CommitId]:
    """Return what goes in this run; what it marks itself counts as marked now."""
    since: dict[str, str] = {commit.id: marks.get(commit.id, run.now) for commit in unreachable}
    return choose_due(unreachable, since, run.cutoff)


def _plan_files(records: Records, repository: KeptRepository, run: Run) -> _FilePlan:
    version = records.held.read_version(repository.id)
    commits = records.held.load_commits(repository.id)
    unreachable = find_unreachable(commits, _find_roots(records, repository.id, run))
    waiting = {commit.id for commit in unreachable}
    reachable, _ = split(commits, lambda commit: commit.id in waiting)
    if not run.sweep:  # a sweep has unlinked those by now
        marks = records.marks.load(MarkKind.COMMIT, repository.id)
        waiting.difference_update(_choose_due(unreachable, marks, run))
    outdated: set[CommitId] = set()
    if repository.keep_untagged_days is not None:
        heads = {ref.target for ref in records.refs.list(repository.id)}
        oldest = shift(run.now, -timedelta(days=repository.keep_untagged_days))
        outdated = find_outdated(reachable, heads, oldest)
    kept, past = split(reachable, lambda commit: commit.id in outdated)
    needed, _ = _read_files(records, repository.id, {commit.manifest for commit in kept})
    small, weights = _read_files(
        records, repository.id, {commit.manifest for commit in past}, is_past=True
    )
    needed |= small
    for push in _open_pushes(records, repository.id, run):
        _, manifests = records.pushes.load_staged(push.id)
        needed.update(file.sha256 for item in manifests for file in find_files(item.body))
    held = records.held.load_files(repository.id)
    unneeded = {file: size for file, size in held.items() if file not in needed}
    left = {commit.manifest for commit in unreachable if commit.id in waiting}
    named, _ = _read_files(records, repository.id, left)
    return _FilePlan(version, unneeded, frozenset(weights & unneeded.keys()), frozenset(named))


def _read_files(
    records: Records,
    repository: RepositoryId,
    manifests: Collection[ManifestId],
    *,
    is_past: bool = False,
) -> tuple[set[ObjectId], set[ObjectId]]:
    """Return the files that manifests need, and those that they name and no longer need."""
    needed: set[ObjectId] = set()
    dropped: set[ObjectId] = set()
    for batch in chunks(sorted(manifests), _MANIFESTS):
        for body in records.files.load_manifests(repository, batch).values():
            for file in find_files(body):
                (dropped if is_past and file.is_weights else needed).add(file.sha256)
    return needed, dropped - needed
