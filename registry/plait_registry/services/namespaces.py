"""Making, showing, changing and deleting namespaces, and looking after their members.

- Organisations are made by administrators, and looked after by their owners.
- A user's own namespace comes with the user, who stays its owner for as long as it is there.
- An organisation keeps at least one owner, unless an administrator takes the last one away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plait.errors import Conflict, InvalidInput, NotFound
from plait.model.address import parse_namespace
from plait_registry.domain.access import (
    SYSTEM,
    Caller,
    Readable,
    Right,
    Role,
    verify_administers,
)
from plait_registry.domain.account_errors import missing_namespace
from plait_registry.domain.accounts import Membership, NamespaceRecord, UserRecord
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.records import RepositoryQuery
from plait_registry.services.access import verify_namespace_right
from plait_registry.services.changes import record_change

LARGEST_QUOTA = 2**60
MOST_DAYS = 36_500

NO_LIMIT = 0
"""In a wish: take the limit away."""


@dataclass(frozen=True, slots=True)
class NamespaceWish:
    """What shall be so about a namespace; None leaves something as it is, `NO_LIMIT` lifts it."""

    quota_bytes: int | None = None
    keep_untagged_days: int | None = None


@dataclass(frozen=True, slots=True)
class NamespaceDetails:
    """A namespace with its members."""

    record: NamespaceRecord
    members: Sequence[Membership]


class CreateNamespace:
    """Makes an organisation."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: str, *, owner: str | None = None) -> NamespaceRecord:
        """Return the new namespace; without an owner, administrators look after it.

        Raises:
            AlreadyExists: `namespace-exists`, also where a user has the name.
            NotFound: `user-not-found`.
            PermissionDenied: `permission-denied`.
        """
        verify_administers(caller)
        parse_namespace(name)
        if owner is not None:
            parse_namespace(owner)
        now = self._clock.now()

        def create(records: Records) -> NamespaceRecord:
            user = None if owner is None else records.users.get(owner)
            made = records.namespaces.insert(name, now)
            change = Change(Action.NAMESPACE_CREATE, made.name, made.key)
            record_change(records, caller, change, at=now)
            if user is not None:
                records.namespaces.set_member(made.key, user.id, Role.OWNER)
                record_change(records, caller, _describe(made, user, Role.OWNER), at=now)
            return made

        return self._database.transact(create)


class ListNamespaces:
    """Lists the namespaces that a caller has to do with."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller) -> Sequence[NamespaceRecord]:
        """Return those in which the caller has a role that the token lets through, by name."""
        with self._database.read() as records:
            return [
                record
                for record in records.namespaces.list()
                if caller.right_in(record.key) >= Right.READ
            ]


class GetNamespace:
    """Shows one namespace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller, name: str) -> NamespaceDetails:
        """Return the namespace and its members, to whoever has a role there.

        Raises:
            NotFound: `namespace-not-found`.
        """
        with self._database.read() as records:
            record = _find(records, caller, name, Right.READ)
            return NamespaceDetails(record, records.namespaces.list_members(record.key))


class UpdateNamespace:
    """Changes how much a namespace may hold, and how long."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: str, wish: NamespaceWish) -> NamespaceRecord:
        """Return the namespace as it is now: retention is for owners, the quota for administrators.

        Raises:
            NotFound: `namespace-not-found`.
            PermissionDenied: `permission-denied`.
        """
        quota = _verify_figure("quota_bytes", wish.quota_bytes, LARGEST_QUOTA)
        days = _verify_figure("keep_untagged_days", wish.keep_untagged_days, MOST_DAYS)
        now = self._clock.now()

        def update(records: Records) -> NamespaceRecord:
            found = _find(records, caller, name, Right.OWN)
            if quota is not None:
                verify_administers(caller)
            wanted = replace(
                found,
                quota_bytes=_choose(quota, found.quota_bytes),
                keep_untagged_days=_choose(days, found.keep_untagged_days),
            )
            if wanted == found:
                return found
            facts = {
                "quota_bytes": wanted.quota_bytes,
                "keep_untagged_days": wanted.keep_untagged_days,
            }
            records.namespaces.update(
                found.key,
                quota_bytes=wanted.quota_bytes,
                keep_untagged_days=wanted.keep_untagged_days,
            )
            change = Change(Action.NAMESPACE_UPDATE, found.name, found.key, facts)
            record_change(records, caller, change, at=now)
            return wanted

        return self._database.transact(update)


class DeleteNamespace:
    """Deletes an organisation that holds nothing; its name is free from then on."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: str) -> None:
        """Delete it, with its memberships.

        Raises:
            NotFound: `namespace-not-found`.
            Conflict: `namespace-in-use`, it holds repositories or is a user's own.
            PermissionDenied: `permission-denied`.
        """
        now = self._clock.now()

        def delete(records: Records) -> None:
            found = _find(records, caller, name, Right.OWN)
            if _find_user(records, found.key) is not None:
                raise Conflict(
                    "namespace-in-use",
                    f"{found.name} is a user's own namespace: it stays for as long as the user is.",
                    namespace=found.name,
                )
            everything = RepositoryQuery(Readable.by(SYSTEM), namespace=found.name, limit=1)
            if records.repositories.search(everything):
                raise Conflict(
                    "namespace-in-use",
                    f"The namespace {found.name} holds repositories: delete them first.",
                    namespace=found.name,
                )
            records.namespaces.delete(found.key)
            change = Change(Action.NAMESPACE_DELETE, found.name, found.key)
            record_change(records, caller, change, at=now)

        self._database.transact(delete)


class SetMember:
    """Gives users roles in a namespace, and takes them away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: str, user: str, role: Role | None) -> None:
        """Make `user` what `role` says, or with None no member; the same again is fine.

        Raises:
            NotFound: `namespace-not-found`, `user-not-found`.
            Conflict: `owner-required`, nobody else is an owner, or it is the user's own namespace.
            PermissionDenied: `permission-denied`.
        """
        parse_namespace(user)
        now = self._clock.now()

        def change_role(records: Records) -> None:
            namespace = _find(records, caller, name, Right.OWN)
            member = records.users.get(user)
            roles = {
                found.user: found.role for found in records.namespaces.list_members(namespace.key)
            }
            if roles.get(member.name) is role:
                return
            if roles.get(member.name) is Role.OWNER:
                _verify_owner_remains(caller, namespace, member, list(roles.values()))
            records.namespaces.set_member(namespace.key, member.id, role)
            record_change(records, caller, _describe(namespace, member, role), at=now)

        self._database.transact(change_role)


def _find(records: Records, caller: Caller, name: str, need: Right) -> NamespaceRecord:
    parse_namespace(name)
    verify_namespace_right(caller, name, need)
    found = records.namespaces.find(name.lower())
    if found is None:
        raise missing_namespace(name)
    return found


def _find_user(records: Records, name: str) -> UserRecord | None:
    try:
        return records.users.get(name)
    except NotFound:
        return None


def _verify_owner_remains(
    caller: Caller, namespace: NamespaceRecord, member: UserRecord, roles: Sequence[Role]
) -> None:
    if member.name.lower() == namespace.key:
        raise Conflict(
            "owner-required",
            f"{namespace.name} is the user's own namespace: {member.name} stays its owner.",
            namespace=namespace.name,
        )
    if roles.count(Role.OWNER) == 1 and not caller.administers:
        raise Conflict(
            "owner-required",
            f"{member.name} is the last owner of {namespace.name}: make somebody else an owner "
            "first, or ask an administrator.",
            namespace=namespace.name,
        )


def _describe(namespace: NamespaceRecord, member: UserRecord, role: Role | None) -> Change:
    if role is None:
        return Change(Action.MEMBER_REMOVE, namespace.name, namespace.key, {"user": member.name})
    facts = {"user": member.name, "role": role.value}
    return Change(Action.MEMBER_SET, namespace.name, namespace.key, facts)


def _verify_figure(field: str, value: int | None, largest: int) -> int | None:
    if value is not None and not 0 <= value <= largest:
        raise InvalidInput(
            "invalid-input",
            f"{field}: a whole number from 1 to {largest}, or 0 for no limit.",
            field=field,
        )
    return value


def _choose(wanted: int | None, current: int | None) -> int | None:
    if wanted is None:
        return current
    return None if wanted == NO_LIMIT else wanted
