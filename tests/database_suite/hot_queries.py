"""The queries that requests are made of, and a database to ask them in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import event

from database_suite.job_rows import LATER, PAYLOAD, job_row, lease_of
from database_suite.rows import (
    ALL,
    MANIFEST,
    NOW,
    History,
    branch,
    digest,
    file_row,
    make_repository,
    note,
    push_row,
    store_commits,
)
from database_suite.validation_rows import attestation_row, expected_row, validation_row
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.model.refs import RefName
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.accounts import UserId
from plait_registry.domain.bases import BaseQuery, BaseRow
from plait_registry.domain.jobs import JobId, JobOffer, JobState
from plait_registry.domain.ports import Records
from plait_registry.domain.records import Extent, ObjectRow, PushId, RepositoryId, TensorRow

REPOSITORY = RepositoryId(1)
FILE = digest("file")
TENSORS = [digest(f"tensor {number}") for number in range(500)]


@contextmanager
def recorded(database: SqlDatabase) -> Iterator[list[tuple[str, Any]]]:
    """Collect the queries of a block, less those that begin a transaction."""
    queries: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(("PRAGMA", "BEGIN", "LOCK")):
            queries.append((statement, parameters))

    event.listen(database._engine, "before_cursor_execute", record)
    try:
        yield queries
    finally:
        event.remove(database._engine, "before_cursor_execute", record)


def fill(database: SqlDatabase) -> None:
    """Make a repository with 300 commits, a file of 500 tensors, and a push."""
    history = History()
    line = history.with_merges(300)
    assert make_repository(database) == REPOSITORY
    store_commits(database, REPOSITORY, history.rows.values())
    tensors = [TensorRow(tensor, 8 * number, 8) for number, tensor in enumerate(TENSORS)]
    file = file_row("file", Extent(digest("object"), 0, 4_000), tensors=tensors, table="table")
    bases = [
        BaseRow(row.id, f"org/{number}", None, digest(f"base {number}"))
        for number, row in enumerate(line)
    ]
    with database.write() as records:
        records.bases.insert(bases)
        records.files.insert(REPOSITORY, [file], [ObjectRow(digest("object"), 4_000)])
        records.commits.insert_notes(REPOSITORY, [note(row, "") for row in line])
        records.refs.compare_and_set(REPOSITORY, branch("main", None, line[-1]))
        records.pushes.insert(push_row(REPOSITORY, branch("main", None, line[-1])))
        for number in range(300):
            state = JobState.DONE if number else JobState.QUEUED
            lease = lease_of(f"lease {number}")
            job = job_row(f"job {number}", REPOSITORY, state=state, lease=lease, ended_at=NOW)
            records.jobs.insert(replace(job, subject=f"commit {number}"), PAYLOAD)
        for row in line:
            records.expected.insert(REPOSITORY, expected_row(row.id))
            records.validations.insert(REPOSITORY, validation_row(row.id, "seen", job=row.id))
            records.attestations.insert(REPOSITORY, attestation_row(row.id))


TIP = CommitId(digest("line 299"))
SOME = [CommitId(digest(f"line {number}")) for number in range(150, 250)]

OFFER = JobOffer(bases=frozenset({"b" * 64}))

HOT: dict[str, Callable[[Records], object]] = {
    "get repository": lambda r: r.repositories.get(RepositoryName("team", "sql")),
    "find ref": lambda r: r.refs.find(REPOSITORY, RefName("main")),
    "list refs": lambda r: r.refs.list(REPOSITORY),
    "load commits": lambda r: r.commits.load(REPOSITORY, SOME),
    "load ancestry": lambda r: r.commits.load_ancestry(REPOSITORY, SOME[:3], 64),
    "find by prefix": lambda r: r.commits.find_by_prefix(REPOSITORY, TIP[:7]),
    "find ancestor": lambda r: r.commits.find_ancestor(TIP, 200),
    "load notes": lambda r: r.commits.load_notes(REPOSITORY, SOME),
    "find a base": lambda r: r.bases.search(BaseQuery(ALL, fingerprint=digest("base 7"))),
    "find bases of a name": lambda r: r.bases.search(BaseQuery(ALL, name="org/7")),
    "load manifests": lambda r: r.files.load_manifests(REPOSITORY, [MANIFEST]),
    "find known": lambda r: r.files.find_known(ALL, [FILE]),
    "find objects": lambda r: r.files.find_objects([digest("object")]),
    "find own": lambda r: r.files.find_own(REPOSITORY, [digest("object")]),
    "locate tensors": lambda r: r.files.locate_tensors(ALL, TENSORS),
    "load extents": lambda r: r.files.load_extents(REPOSITORY, [FILE]),
    "load any extents": lambda r: r.files.load_extents(None, [FILE]),
    "get push": lambda r: r.pushes.get(REPOSITORY, PushId("push")),
    "load staged": lambda r: r.pushes.load_staged(PushId("push")),
    "find uploads": lambda r: r.pushes.find_uploads(REPOSITORY, [FILE]),
    "count repositories": lambda r: r.tallies.count_repositories("team"),
    "count refs": lambda r: r.tallies.count_refs(REPOSITORY),
    "count open pushes": lambda r: r.tallies.count_open_pushes(REPOSITORY),
    "measure staged": lambda r: r.tallies.measure_staged(PushId("push")),
    "get job": lambda r: r.jobs.get(JobId("job 7")),
    "find job by token": lambda r: r.jobs.find_by_digest(lease_of("lease 7").digest),
    "find due job": lambda r: r.jobs.find_due(LATER),
    "find due job of a worker": lambda r: r.jobs.find_due(LATER, OFFER),
    "find latest job": lambda r: r.jobs.find_latest(REPOSITORY, "commit 7"),
    "list jobs": lambda r: r.jobs.search(REPOSITORY, before=200, limit=50),
    "count open jobs": lambda r: r.tallies.count_open_jobs(REPOSITORY),
    "count open jobs of a user": lambda r: r.tallies.count_open_jobs_of(UserId(1)),
    "measure notes": lambda r: r.tallies.measure_notes(REPOSITORY, SOME),
    "list expected digests": lambda r: r.expected.list(REPOSITORY, TIP),
    "list expected roots": lambda r: r.expected.list_roots(REPOSITORY, TIP),
    "list validations": lambda r: r.validations.search(REPOSITORY, TIP, before=9, limit=50),
    "find validation of a job": lambda r: r.validations.find_by_job(REPOSITORY, TIP),
    "measure validations": lambda r: r.validations.measure(REPOSITORY, TIP),
    "list attestations": lambda r: r.attestations.list(REPOSITORY, TIP),
}
