"""Making, listing and changing users, and telling callers who they are.

A user is a namespace, too: its own, of the same name, whose owner it is. Service accounts are
users like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plait.errors import InvalidInput
from plait.model.address import parse_namespace
from plait_registry.domain.access import SYSTEM, Caller, Role, verify_administers
from plait_registry.domain.accounts import TokenRecord, UserRecord
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.services.authenticate import ADMIN
from plait_registry.services.changes import record_change

RESERVED = frozenset({ADMIN, SYSTEM.name})
"""Who the audit log calls so holds the data folder or the database, and is no user."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, and the token that it sent, where that one has a row."""

    caller: Caller
    token: TokenRecord | None


class Identify:
    """Tells callers who the registry takes them for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller) -> Identity:
        """Return the caller's identity."""
        if caller.token is None:
            return Identity(caller, None)
        with self._database.read() as records:
            return Identity(caller, records.tokens.get(caller.token))


class CreateUser:
    """Makes a user and the namespace of the same name."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: str, *, is_admin: bool = False) -> UserRecord:
        """Return the new user, who has no token yet.

        Raises:
            AlreadyExists: `user-exists`; `namespace-exists`, an organisation has the name.
            PermissionDenied: `permission-denied`.
        """
        verify_administers(caller)
        _verify_name(name)
        now = self._clock.now()

        def create(records: Records) -> UserRecord:
            user = records.users.insert(name, is_admin=is_admin, created_at=now)
            namespace = records.namespaces.insert(name, now)
            records.namespaces.set_member(namespace.key, user.id, Role.OWNER)
            change = Change(Action.USER_CREATE, user.name, None, {"admin": is_admin})
            record_change(records, caller, change, at=now)
            return user

        return self._database.transact(create)


class ListUsers:
    """Lists all users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller) -> Sequence[UserRecord]:
        """Return them, sorted by name.

        Raises:
            PermissionDenied: `permission-denied`.
        """
        verify_administers(caller)
        with self._database.read() as records:
            return records.users.list()


class UpdateUser:
    """Disables users, enables them again, and makes them administrators."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(
        self,
        caller: Caller,
        name: str,
        *,
        is_admin: bool | None = None,
        disabled: bool | None = None,
    ) -> UserRecord:
        """Return the user as it is now; None leaves something as it was.

        Tokens of a disabled user do not work; they do again once it is enabled.

        Raises:
            NotFound: `user-not-found`.
            PermissionDenied: `permission-denied`.
        """
        verify_administers(caller)
        parse_namespace(name)
        now = self._clock.now()

        def update(records: Records) -> UserRecord:
            found = records.users.get(name)
            wanted = replace(
                found,
                is_admin=found.is_admin if is_admin is None else is_admin,
                disabled_at=_choose_disabled(found.disabled_at, disabled=disabled, now=now),
            )
            if wanted != found:
                records.users.update(
                    found.id, is_admin=wanted.is_admin, disabled_at=wanted.disabled_at
                )
                facts = {"admin": wanted.is_admin, "disabled": wanted.disabled_at is not None}
                change = Change(Action.USER_UPDATE, found.name, None, facts)
                record_change(records, caller, change, at=now)
            return wanted

        return self._database.transact(update)


def _choose_disabled(since: str | None, *, disabled: bool | None, now: str) -> str | None:
    if disabled is None:
        return since
    return (since or now) if disabled else None


def _verify_name(name: str) -> None:
    if parse_namespace(name).lower() in RESERVED:
        raise InvalidInput(
            "invalid-namespace",
            f"{name!r} stands for the operator in the audit log: choose another name.",
        )
