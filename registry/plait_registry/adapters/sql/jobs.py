"""Jobs, in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from typing_extensions import override

from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId
from plait.model.refs import RefName
from plait_registry.adapters.sql.job_tables import jobs
from plait_registry.adapters.sql.tables import repositories
from plait_registry.domain.accounts import UserId
from plait_registry.domain.jobs import (
    ANY_JOB,
    OPEN_STATES,
    JobError,
    JobId,
    JobKind,
    JobLease,
    JobOffer,
    JobProgress,
    JobResult,
    JobRow,
    JobState,
    JobTable,
    Requester,
    missing_job,
    write_error,
    write_result,
)
from plait_registry.domain.records import RepositoryId

# Without the payload, which few want and which may be large.
_COLUMNS = [column for column in jobs.c if column is not jobs.c.payload]
_JOB: Select[Any] = select(*_COLUMNS, repositories.c.namespace, repositories.c.name).join(
    repositories, repositories.c.id == jobs.c.repository_id
)
_OTHERS = jobs.alias("others")
# How many jobs of the same user are running.
_RUNNING_OF_USER = (
    select(func.count())
    .where(
        _OTHERS.c.state == JobState.RUNNING.value,
        _OTHERS.c.user_id.is_not_distinct_from(jobs.c.user_id),
    )
    .correlate(jobs)
    .scalar_subquery()
)


class SqlJobTable(JobTable):
    """Jobs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, job: JobRow, payload: bytes) -> JobRow:
        fixed = {
            "id": job.id,
            "kind": job.kind.value,
            "repository_id": job.repository,
            "requester": job.requester.name,
            "user_id": job.requester.user,
            "token_id": job.requester.token,
            "inputs": [str(name) for name in job.inputs],
            "ref_name": job.ref or "",
            "subject": job.subject,
            "base": job.base,
            "payload": payload.decode(),
            "created_at": job.created_at,
        }
        self._connection.execute(insert(jobs).values({**fixed, **_write_changing(job)}))
        return self.get(job.id)

    @override
    def get(self, job: JobId) -> JobRow:
        row = self._connection.execute(_JOB.where(jobs.c.id == job)).one_or_none()
        if row is None:
            raise missing_job(job)
        return _read(row)

    @override
    def load_payload(self, job: JobId) -> bytes:
        statement = select(jobs.c.payload).where(jobs.c.id == job)
        payload: str | None = self._connection.execute(statement).scalar_one_or_none()
        if payload is None:
            raise missing_job(job)
        return payload.encode()

    @override
    def find_by_digest(self, digest: str) -> JobRow | None:
        row = self._connection.execute(_JOB.where(jobs.c.digest == digest)).one_or_none()
        return None if row is None else _read(row)

    @override
    def search(
        self, repository: RepositoryId, *, before: int | None = None, limit: int = 50
    ) -> list[JobRow]:
        statement = _JOB.where(jobs.c.repository_id == repository)
        if before is not None:
            statement = statement.where(jobs.c.number < before)
        ordered = statement.order_by(jobs.c.number.desc()).limit(limit)
        return [_read(row) for row in self._connection.execute(ordered)]

    @override
    def find_latest(self, repository: RepositoryId, subject: str) -> JobRow | None:
        statement = (
            _JOB.where(jobs.c.repository_id == repository, jobs.c.subject == subject)
            .order_by(jobs.c.number.desc())
            .limit(1)
        )
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else _read(row)

    @override
    def find_due(self, now: str, offer: JobOffer = ANY_JOB) -> JobId | None:
        is_waiting = and_(jobs.c.state == JobState.QUEUED.value, jobs.c.due_at <= now)
        is_orphan = and_(jobs.c.state == JobState.RUNNING.value, jobs.c.lease_until <= now)
        statement = (
            select(jobs.c.id)
            .where(or_(is_waiting, is_orphan), *_taken_by(offer))
            .order_by(_RUNNING_OF_USER, jobs.c.due_at, jobs.c.number)
            .limit(1)
        )
        found = self._connection.execute(statement).scalar_one_or_none()
        return None if found is None else JobId(found)

    @override
    def postpone(self, user: UserId | None, now: str) -> None:
        whose = jobs.c.user_id.is_(None) if user is None else jobs.c.user_id == user
        self._connection.execute(
            update(jobs)
            .where(whose, jobs.c.state == JobState.QUEUED.value, jobs.c.due_at < now)
            .values(due_at=now)
        )

    @override
    def update(self, job: JobRow) -> None:
        self._connection.execute(
            update(jobs).where(jobs.c.id == job.id).values(_write_changing(job))
        )

    @override
    def prune(self, before: str) -> int:
        # Not by what is open: an index leads to the states.
        ended = [state.value for state in JobState if state not in OPEN_STATES]
        return self._connection.execute(
            delete(jobs).where(jobs.c.state.in_(ended), jobs.c.ended_at < before)
        ).rowcount


def _taken_by(offer: JobOffer) -> list[ColumnElement[bool]]:
    """Return what holds for the jobs that an offer takes."""
    conditions: list[ColumnElement[bool]] = []
    if offer.kinds != ANY_JOB.kinds:
        conditions.append(jobs.c.kind.in_(sorted(offer.kinds)))
    if offer.bases is not None:
        conditions.append(or_(jobs.c.base.is_(None), jobs.c.base.in_(sorted(offer.bases))))
    return conditions


def _write_changing(job: JobRow) -> dict[str, Any]:
    """Return the columns that change while a job lives."""
    return {
        "state": job.state.value,
        "attempts": job.attempts,
        "due_at": job.due_at,
        "digest": None if job.lease is None else job.lease.digest,
        "lease_until": None if job.lease is None else job.lease.until,
        "done": job.progress.done,
        "total": job.progress.total,
        "what": job.progress.what,
        "log": job.log,
        "result": write_result(job.result),
        "error": write_error(job.error),
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def _read(row: Row[Any]) -> JobRow:
    return JobRow(
        id=JobId(row.id),
        kind=JobKind(row.kind),
        repository=RepositoryId(row.repository_id),
        target=RepositoryName(row.namespace, row.name),
        requester=Requester(
            row.requester, None if row.user_id is None else UserId(row.user_id), row.token_id
        ),
        inputs=tuple(RepositoryName.parse(name) for name in row.inputs),
        ref=RefName(row.ref_name) if row.ref_name else None,
        created_at=row.created_at,
        due_at=row.due_at,
        state=JobState(row.state),
        attempts=row.attempts,
        lease=None if row.digest is None else JobLease(row.digest, row.lease_until),
        progress=JobProgress(row.done, row.total, row.what),
        log=row.log,
        result=_read_result(row.result),
        error=None if row.error is None else JobError(row.error["kind"], row.error["message"]),
        started_at=row.started_at,
        ended_at=row.ended_at,
        number=row.number,
        subject=row.subject,
        base=row.base,
    )


def _read_result(value: Any) -> JobResult | None:
    if value is None:
        return None
    return JobResult(CommitId(value["commit"]), ManifestId(value["manifest"]), value.get("verdict"))
