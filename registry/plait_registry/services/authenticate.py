"""From a token to the caller that it stands for."""

from __future__ import annotations

from collections.abc import Callable

from plait.errors import Unauthenticated
from plait.model.ids import hash_bytes
from plait_registry.domain.access import Caller
from plait_registry.domain.accounts import TokenOwner
from plait_registry.domain.ports import Clock, Database, Records

ADMIN = "admin"
"""The name of who holds the data folder's own token."""


class Authenticate:
    """Tells whose token it is, in one query."""

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
        digest = hash_bytes(token.encode("utf-8", "surrogateescape"))
        with self._database.read() as records:
            owner = records.tokens.find_owner(digest)
        now = self._clock.now()
        caller = _admit(owner, now)
        if owner is not None:
            self._touch(owner, now[:10])
        return caller

    def _touch(self, owner: TokenOwner, today: str) -> None:
        if owner.token.last_used_on != today:
            token = owner.token.id
            self._database.transact(lambda records: records.tokens.touch(token, today))


def refresh_caller(records: Records, caller: Caller, now: str) -> Caller:
    """Return the caller as the database knows it now, in the transaction that goes on to change it.

    What takes long must not end with the rights that it began with. The folder's own token and the
    operator's programs stay what they are: their rights are not in the database.

    Raises:
        Unauthenticated: the token does not hold any more.
    """
    if caller.token is None:
        return caller
    digest = records.tokens.get(caller.token).digest
    return _admit(records.tokens.find_owner(digest), now)


def _admit(owner: TokenOwner | None, now: str) -> Caller:
    if owner is None or owner.user.disabled_at is not None:
        raise Unauthenticated(
            "unauthenticated",
            "The registry does not know this token: run `plait login` with the current one.",
        )
    _verify_valid(owner, now)
    return Caller(
        name=owner.user.name,
        is_admin=owner.user.is_admin,
        roles=owner.roles,
        scopes=owner.token.scopes,
        token=owner.token.id,
        user=owner.user.id,
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
