"""From a token to the caller that it stands for.

A job's token stands for who asked for the job: with their rights as they are now, as far as their
own token lets them through, and no further than the job's inputs and target. Once the job has ended
it lets nothing through any more, and tells the job's process so until its lease runs out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from plait.errors import Unauthenticated
from plait.model.ids import hash_bytes
from plait_registry.domain.access import Caller
from plait_registry.domain.accounts import TokenOwner
from plait_registry.domain.jobs import JobKind, JobRow, JobState, Requester
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.validation_wish import ValidationPayload

ADMIN = "admin"
"""The name of who holds the data folder's own token."""


class Authenticate:
    """Tells whose token it is, in one query for those of users."""

    def __init__(
        self, database: Database, clock: Clock, is_folder_token: Callable[[str], bool]
    ) -> None:
        """Take also what tells whether a token is the one in the data folder."""
        self._database = database
        self._clock = clock
        self._is_folder_token = is_folder_token

    def __call__(self, token: str) -> Caller:
        """Return who the token belongs to.

        Raises:
            Unauthenticated: `unauthenticated` for a token that nobody has, or whose user is
                disabled; `token-expired`, `token-revoked`.
        """
        if self._is_folder_token(token):
            return Caller(ADMIN, is_admin=True)
        # Looked up by its digest: how long that takes tells nothing about the token itself.
        digest = hash_token(token)
        now = self._clock.now()
        with self._database.read() as records:
            owner = records.tokens.find_owner(digest)
            job = records.jobs.find_by_digest(digest) if owner is None else None
            if job is not None:
                return _admit_job(records, job, now)
        caller = _admit(owner, now)
        if owner is not None:
            self._touch(owner, now[:10])
        return caller

    def _touch(self, owner: TokenOwner, today: str) -> None:
        if owner.token.last_used_on != today:
            token = owner.token.id
            self._database.transact(lambda records: records.tokens.touch(token, today))


def hash_token(token: str) -> str:
    """Return what the database keeps of a token."""
    return hash_bytes(token.encode("utf-8", "surrogateescape"))


def refresh_caller(records: Records, caller: Caller, now: str) -> Caller:
    """Return the caller as the database knows it now, in the transaction that goes on to change it.

    What takes long must not end with the rights that it began with. The folder's own token and the
    operator's programs stay what they are: their rights are not in the database.

    Raises:
        Unauthenticated: the token does not hold any more.
    """
    if caller.job is not None:
        job = records.jobs.find_by_digest(caller.job)
        if job is None:
            raise _unknown()
        return _admit_job(records, job, now)
    if caller.token is None:
        return caller
    digest = records.tokens.get(caller.token).digest
    return _admit(records.tokens.find_owner(digest), now)


def find_requester(records: Records, requester: Requester, now: str) -> Caller:
    """Return who asked for a job, as the database knows them now.

    Raises:
        Unauthenticated: their token does not hold any more, or they are disabled.
    """
    if requester.token is None:
        return Caller(ADMIN, is_admin=True)
    digest = records.tokens.get(requester.token).digest
    return _admit(records.tokens.find_owner(digest), now)


def _admit_job(records: Records, job: JobRow, now: str) -> Caller:
    if job.lease is None or job.lease.until <= now:
        raise _unknown()
    requester = find_requester(records, job.requester, now)
    is_running = job.state is JobState.RUNNING
    is_validation = job.kind is JobKind.VALIDATION
    return replace(
        requester,
        scopes=requester.narrowed(job.scopes) if is_running else (),
        token=job.id,
        # No user's business, such as making tokens, is a job's.
        user=None,
        job=job.lease.digest,
        job_kind=job.kind.value,
        job_commit=ValidationPayload.commit_of(job.subject or "") if is_validation else None,
    )


def _admit(owner: TokenOwner | None, now: str) -> Caller:
    if owner is None or owner.user.disabled_at is not None:
        raise _unknown()
    _verify_valid(owner, now)
    return Caller(
        name=owner.user.name,
        is_admin=owner.user.is_admin,
        roles=owner.roles,
        scopes=owner.token.scopes,
        token=owner.token.id,
        user=owner.user.id,
    )


def _unknown() -> Unauthenticated:
    return Unauthenticated(
        "unauthenticated",
        "The registry does not know this token: run `plait login` with the current one.",
    )


def _verify_valid(owner: TokenOwner, now: str) -> None:
    if owner.token.revoked_at is not None:
        raise Unauthenticated(
            "token-revoked",
            f"The token {owner.token.id} was revoked: make a new one with `plait token create`, or "
            "ask an administrator for one.",
            token=owner.token.id,
        )
    # Times are UTC in one format, so that text compares as time does.
    if owner.token.expires_at is not None and owner.token.expires_at <= now:
        raise Unauthenticated(
            "token-expired",
            f"The token {owner.token.id} expired at {owner.token.expires_at}: make a new one with "
            "`plait token create`, or ask an administrator for one.",
            token=owner.token.id,
        )
