"""Jobs that mean nothing, for tests of the database and of services."""

from dataclasses import replace
from typing import Any

from database_suite.rows import NOW
from plait.model.address import RepositoryName
from plait.model.ids import hash_bytes
from plait.model.refs import RefName
from plait_registry.domain.accounts import TokenRecord, UserId
from plait_registry.domain.jobs import JobId, JobKind, JobLease, JobRow, Requester
from plait_registry.domain.ports import Database
from plait_registry.domain.records import RepositoryId

SQL = RepositoryName("team", "sql")
LATER = "2026-11-24T06:08:00Z"
MUCH_LATER = "2026-11-24T06:10:00Z"
PAYLOAD = b'{"recipe":{"weight":0.7},"text":"Gr\xc3\xb6\xc3\x9fe"}'
ADMIN = Requester("admin", None, None)


def job_row(key: str, repository: RepositoryId, **facts: Any) -> JobRow:
    """Return a job of `team/sql` that waits since `NOW`."""
    waiting = JobRow(
        id=JobId(key),
        kind=JobKind.COMPOSITION,
        repository=repository,
        target=SQL,
        requester=ADMIN,
        inputs=(RepositoryName("team", "cpp"), RepositoryName("lab", "prose")),
        ref=RefName("blend"),
        created_at=NOW,
        due_at=NOW,
    )
    return replace(waiting, **facts)


def lease_of(word: str, until: str = LATER) -> JobLease:
    return JobLease(hash_bytes(word.encode()), until)


def insert_job(database: Database, job: JobRow) -> JobRow:
    with database.write() as records:
        return records.jobs.insert(job, PAYLOAD)


def add_requester(database: Database, name: str) -> Requester:
    """Add a user with a token, and return them as who asks for a job."""
    with database.write() as records:
        user = records.users.insert(name, is_admin=False, created_at=NOW)
        digest = hash_bytes(name.encode())
        token = TokenRecord(f"token-{name}", user.id, "", digest, None, NOW, None, None, None)
        records.tokens.insert(token)
    return Requester(name, UserId(user.id), token.id)
