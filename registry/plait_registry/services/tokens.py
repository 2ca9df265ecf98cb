"""Making, listing and revoking tokens.

- A token is shown once, when it is made; the database keeps its sha256 (docs/decisions/0046).
- A token makes no token that may do more than itself. One with scopes makes none that outlives it:
  only one without stands for the person and may renew itself.
- One with scopes sees and revokes itself alone, since whoever found it has no business with the
  others.
- Neither limit holds for an administrator's token that may make users anyway.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from plait.errors import InvalidInput, PermissionDenied
from plait.model.address import parse_namespace
from plait.model.ids import hash_bytes
from plait_registry.domain import expiry
from plait_registry.domain.access import Caller, Scope, verify_administers
from plait_registry.domain.account_errors import missing_token
from plait_registry.domain.accounts import TOKEN_PREFIX, TokenRecord, UserRecord
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.services.changes import record_change

LONGEST_LABEL = 100
MOST_SCOPES = 100
MOST_TOKENS = 200
"""Of one user, that work: a script that makes one a run and never revokes it stops here."""

_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class TokenWish:
    """What a new token shall be."""

    label: str = ""
    """What it is for, in the owner's words."""
    scopes: tuple[Scope, ...] | None = None
    """None: everything that the user may do."""
    expires: str = expiry.DEFAULT
    """As `plait_registry.domain.expiry` reads it."""
    user: str | None = None
    """Whose it is; None: the caller's own."""


@dataclass(frozen=True, slots=True)
class OwnedToken:
    """A token and the name of its user."""

    token: TokenRecord
    user: str


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A token that was just made, with what nobody can show again."""

    owned: OwnedToken
    secret: str


class CreateToken:
    """Makes a token."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, wish: TokenWish) -> CreatedToken:
        """Return the new token: one's own, or as an administrator anybody's.

        Raises:
            NotFound: `user-not-found`.
            InvalidInput: the wish breaks a rule, or the caller is no user and names none.
            PermissionDenied: it would be wider than the caller's own token, or outlive it.
        """
        _verify_wish(wish)
        now = self._clock.now()
        expires_at = expiry.parse_expiry(wish.expires, now)
        key, secret = secrets.token_hex(6), TOKEN_PREFIX + secrets.token_urlsafe(32)

        def create(records: Records) -> OwnedToken:
            user = _find_user(records, caller, wish.user)
            _verify_not_wider(records, caller, wish.scopes, expires_at)
            _verify_count(records.tokens.list(user.id), now)
            token = TokenRecord(
                id=key,
                user=user.id,
                label=wish.label,
                digest=hash_bytes(secret.encode("ascii")),
                scopes=wish.scopes,
                created_at=now,
                expires_at=expires_at,
                revoked_at=None,
                last_used_on=None,
            )
            records.tokens.insert(token)
            record_change(records, caller, _describe_creation(token, user), at=now)
            return OwnedToken(token, user.name)

        return CreatedToken(self._database.transact(create), secret)


class ListTokens:
    """Lists a user's tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller, user: str | None = None) -> Sequence[OwnedToken]:
        """Return one's own tokens, or as an administrator those of `user`, oldest first.

        Raises:
            NotFound: `user-not-found`.
            PermissionDenied: `permission-denied`.
        """
        with self._database.read() as records:
            owner = _find_user(records, caller, user)
            found = records.tokens.list(owner.id)
        if not _is_limited(caller):
            return [OwnedToken(token, owner.name) for token in found]
        return [OwnedToken(token, owner.name) for token in found if token.id == caller.token]


class RevokeToken:
    """Makes a token useless at once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, token: str) -> None:
        """Revoke one's own token, or as an administrator anybody's; twice is fine.

        Raises:
            NotFound: `token-not-found`, also where it is somebody else's.
            InvalidInput: it is no id.
        """
        now = self._clock.now()

        if _ID.fullmatch(token) is None:
            # Not repeated: people paste the token itself, and errors end up in logs.
            raise InvalidInput(
                "invalid-input",
                "That is no token's id: those have 12 hexadecimal digits, and `plait token list` "
                "shows them.",
                field="token",
            )

        def revoke(records: Records) -> None:
            found = records.tokens.get(token)
            if not _may_revoke(caller, found):
                raise missing_token(token)
            if found.revoked_at is None:
                records.tokens.revoke(token, now)
                owner = _find_owner(records, found)
                facts = {"user": owner.name, "label": found.label}
                change = Change(Action.TOKEN_REVOKE, token, owner.name.lower(), facts)
                record_change(records, caller, change, at=now)

        self._database.transact(revoke)


def _find_user(records: Records, caller: Caller, name: str | None) -> UserRecord:
    """Return whose tokens a call is about."""
    if name is None and caller.user is None:
        raise InvalidInput(
            "invalid-input",
            f"{caller.name} is no user, and has one token only: say whose tokens you mean, as with "
            "--user NAME.",
            field="user",
        )
    wanted = caller.name if name is None else parse_namespace(name)
    if wanted.lower() != caller.name.lower():
        verify_administers(caller)
    return records.users.get(wanted)


def _find_owner(records: Records, token: TokenRecord) -> UserRecord:
    return next(user for user in records.users.list() if user.id == token.user)


def _is_limited(caller: Caller) -> bool:
    return caller.scopes is not None and not caller.administers


def _may_revoke(caller: Caller, token: TokenRecord) -> bool:
    if caller.administers or token.id == caller.token:
        return True
    return token.user == caller.user and not _is_limited(caller)


def _verify_not_wider(
    records: Records, caller: Caller, scopes: tuple[Scope, ...] | None, expires_at: str | None
) -> None:
    if caller.scopes is None or caller.administers:
        return
    own = None if caller.token is None else records.tokens.get(caller.token)
    if scopes is None or not all(
        any(have.holds(scope) for have in caller.scopes) for scope in scopes
    ):
        raise PermissionDenied(
            "permission-denied",
            "A token makes none that may do more than itself: name scopes within "
            f"{' '.join(map(str, caller.scopes)):.300}, or use a token without scopes.",
            have=[str(scope) for scope in caller.scopes],
        )
    if own is not None and expiry.ends_after(expires_at, own.expires_at):
        raise PermissionDenied(
            "permission-denied",
            f"A token with scopes makes none that outlives it: choose an end up to "
            f"{own.expires_at}, or use a token without scopes.",
            expires_at=own.expires_at,
        )


def _verify_wish(wish: TokenWish) -> None:
    if len(wish.label) > LONGEST_LABEL or not wish.label.isprintable():
        raise InvalidInput(
            "invalid-input",
            f"label: one line of printable text, of at most {LONGEST_LABEL} characters.",
            field="label",
        )
    if wish.scopes is not None and not 0 < len(wish.scopes) <= MOST_SCOPES:
        raise InvalidInput(
            "invalid-scope",
            f"A token has 1 to {MOST_SCOPES} scopes, or null for everything that its user may do.",
        )


def _verify_count(tokens: Sequence[TokenRecord], now: str) -> None:
    working = [
        token
        for token in tokens
        if token.revoked_at is None and expiry.ends_after(token.expires_at, now)
    ]
    if len(working) >= MOST_TOKENS:
        raise InvalidInput(
            "invalid-input",
            f"The user has {MOST_TOKENS} tokens that work, and may not have more: revoke some.",
        )


def _describe_creation(token: TokenRecord, user: UserRecord) -> Change:
    facts = {
        "user": user.name,
        "label": token.label,
        "scopes": None if token.scopes is None else [str(scope) for scope in token.scopes],
        "expires_at": token.expires_at,
    }
    return Change(Action.TOKEN_CREATE, token.id, user.name.lower(), facts)
