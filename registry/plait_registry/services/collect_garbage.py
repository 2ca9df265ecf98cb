"""Garbage collection: what no ref reaches goes, after a grace.

    (a) pushes that nobody ended, and their uploads        `sweep_pushes`
    (b) a repository's commits that no ref reaches          `sweep_repository`
    (c) a repository's files that no commit of it names     `sweep_repository`
    (d) commits, manifests and files that nobody holds      `sweep_objects`
    (e) objects and documents that nothing needs            `sweep_objects`

Grace counts from when a run saw something to be garbage first: one that sweeps marks what it finds,
and takes what was marked long enough ago and is garbage still. A run can be killed anywhere and two
can run at once: each step is a transaction that looks again, and what is left the next run finds.
"""

from __future__ import annotations

from datetime import timedelta

from plait.errors import Conflict
from plait_registry.domain.accounts import AuditQuery
from plait_registry.domain.ports import Clock, Database, Transfers
from plait_registry.services.garbage_report import GarbageReport, Run, Tell
from plait_registry.services.stores import Stores
from plait_registry.services.sweep_objects import SweepObjects
from plait_registry.services.sweep_pushes import SweepPushes
from plait_registry.services.sweep_repository import SweepRepository

DEFAULT_GRACE = timedelta(days=14)


class CollectGarbage:
    """One run of garbage collection."""

    def __init__(
        self, database: Database, stores: Stores, transfers: Transfers, clock: Clock
    ) -> None:
        self._database = database
        self._clock = clock
        self._stores = stores
        self._sweep_pushes = SweepPushes(database, transfers)
        self._sweep_repository = SweepRepository(database)
        self._sweep_objects = SweepObjects(database, stores, clock)

    def __call__(
        self,
        *,
        grace: timedelta = DEFAULT_GRACE,
        sweep: bool = False,
        tell: Tell = lambda _: None,
    ) -> GarbageReport:
        """Sweep, or without `sweep` change nothing and say what would go.

        Raises:
            Conflict: `database-empty`, the store holds objects and the database no repository: it
                is probably another registry's, or waits for a rebuild.
        """
        run = Run.at(self._clock.now(), grace=grace, sweep=sweep)
        report = GarbageReport(swept=sweep)
        with self._database.read() as records:
            repositories = records.held.list_repositories()
            is_used = bool(repositories or records.audit.search(AuditQuery(limit=1)))
        if not is_used and sweep and any(True for store in self._stores.all for _ in store.list()):
            raise Conflict(
                "database-empty",
                "The database is empty and the object store is not: nothing was removed. Check "
                "which database is set, or run `plait-registry rebuild` first.",
            )
        self._sweep_pushes(run, report)
        for number, repository in enumerate(repositories, 1):
            self._sweep_repository(repository, run, report)
            tell(f"{number} of {len(repositories)} repositories looked at")
        self._sweep_objects(run, report, tell)
        return report
