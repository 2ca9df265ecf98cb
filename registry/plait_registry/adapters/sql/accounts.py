"""Users, namespaces, tokens, protected refs and the audit log."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    insert,
    not_,
    select,
    update,
)
from typing_extensions import override

from plait_registry.adapters.sql.account_tables import (
    audit_log,
    memberships,
    namespaces,
    protections,
    tokens,
    users,
)
from plait_registry.adapters.sql.dialect import insert_new
from plait_registry.domain.access import Role, Scope
from plait_registry.domain.account_errors import (
    missing_protection,
    missing_token,
    missing_user,
    namespace_exists,
    user_exists,
)
from plait_registry.domain.accounts import (
    AuditQuery,
    AuditRow,
    AuditTable,
    Membership,
    NamespaceRecord,
    NamespaceTable,
    Protection,
    ProtectionTable,
    TokenOwner,
    TokenRecord,
    TokenTable,
    UserId,
    UserRecord,
    UserTable,
)
from plait_registry.domain.records import RepositoryId

_OWNER = (
    select(
        tokens,
        users.c.name.label("user_name"),
        users.c.is_admin,
        users.c.created_at.label("user_created_at"),
        users.c.disabled_at,
        memberships.c.namespace_key,
        memberships.c.role,
    )
    .select_from(
        tokens.join(users, users.c.id == tokens.c.user_id).outerjoin(
            memberships, memberships.c.user_id == users.c.id
        )
    )
    .where(tokens.c.digest == bindparam("digest"))
)
_IS_OF_PREDECESSOR = exists().where(
    namespaces.c.key == audit_log.c.namespace_key, namespaces.c.created_at > audit_log.c.at
)
"""Whether a row of the audit log is from before its namespace was made: of a deleted one."""


class SqlUserTable(UserTable):
    """Users in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, name: str, *, is_admin: bool, created_at: str) -> UserRecord:
        row = {
            "key": name.lower(),
            "name": name,
            "is_admin": is_admin,
            "created_at": created_at,
            "disabled_at": None,
        }
        if insert_new(self._connection, users, [row]) == 0:
            raise user_exists(self.get(name).name)
        return self.get(name)

    @override
    def get(self, name: str) -> UserRecord:
        statement = select(users).where(users.c.key == name.lower())
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise missing_user(name)
        return _read_user(row)

    @override
    def list(self) -> Sequence[UserRecord]:
        return [
            _read_user(row) for row in self._connection.execute(select(users).order_by(users.c.key))
        ]

    @override
    def update(self, user: UserId, *, is_admin: bool, disabled_at: str | None) -> None:
        self._connection.execute(
            update(users)
            .where(users.c.id == user)
            .values(is_admin=is_admin, disabled_at=disabled_at)
        )


class SqlNamespaceTable(NamespaceTable):
    """Namespaces in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, name: str, created_at: str) -> NamespaceRecord:
        record = NamespaceRecord(name.lower(), name, created_at, None, None)
        row = {"key": record.key, "name": name, "created_at": created_at}
        if insert_new(self._connection, namespaces, [row]) == 0:
            taken = self.find(record.key)
            raise namespace_exists(name if taken is None else taken.name)
        return record

    @override
    def find(self, key: str) -> NamespaceRecord | None:
        statement = select(namespaces).where(namespaces.c.key == key)
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else _read_namespace(row)

    @override
    def list(self) -> Sequence[NamespaceRecord]:
        rows = self._connection.execute(select(namespaces).order_by(namespaces.c.key))
        return [_read_namespace(row) for row in rows]

    @override
    def update(self, key: str, *, quota_bytes: int | None, keep_untagged_days: int | None) -> None:
        self._connection.execute(
            update(namespaces)
            .where(namespaces.c.key == key)
            .values(quota_bytes=quota_bytes, keep_untagged_days=keep_untagged_days)
        )

    @override
    def delete(self, key: str) -> None:
        self._connection.execute(delete(memberships).where(memberships.c.namespace_key == key))
        self._connection.execute(delete(namespaces).where(namespaces.c.key == key))

    @override
    def set_member(self, key: str, user: UserId, role: Role | None) -> None:
        self._connection.execute(
            delete(memberships).where(
                memberships.c.namespace_key == key, memberships.c.user_id == user
            )
        )
        if role is not None:
            row = {"namespace_key": key, "user_id": user, "role": role.value}
            self._connection.execute(insert(memberships), row)

    @override
    def list_members(self, key: str) -> Sequence[Membership]:
        rows = self._connection.execute(
            select(users.c.name, memberships.c.role)
            .select_from(memberships.join(users, users.c.id == memberships.c.user_id))
            .where(memberships.c.namespace_key == key)
            .order_by(users.c.key)
        )
        return [Membership(row.name, Role(row.role)) for row in rows]


class SqlTokenTable(TokenTable):
    """Tokens in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, token: TokenRecord) -> None:
        row = {
            "id": token.id,
            "user_id": token.user,
            "label": token.label,
            "digest": token.digest,
            "scopes": None if token.scopes is None else [str(scope) for scope in token.scopes],
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "revoked_at": token.revoked_at,
            "last_used_on": token.last_used_on,
        }
        self._connection.execute(insert(tokens), row)

    @override
    def find_owner(self, digest: str) -> TokenOwner | None:
        rows = self._connection.execute(_OWNER, {"digest": digest}).all()
        if not rows:
            return None
        first = rows[0]
        user = UserRecord(
            UserId(first.user_id),
            first.user_name,
            first.is_admin,
            first.user_created_at,
            first.disabled_at,
        )
        roles = {row.namespace_key: Role(row.role) for row in rows if row.role is not None}
        return TokenOwner(_read_token(first), user, roles)

    @override
    def get(self, token: str) -> TokenRecord:
        statement = select(tokens).where(tokens.c.id == token)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise missing_token(token)
        return _read_token(row)

    @override
    def list(self, user: UserId) -> Sequence[TokenRecord]:
        rows = self._connection.execute(
            select(tokens)
            .where(tokens.c.user_id == user)
            .order_by(tokens.c.created_at, tokens.c.id)
        )
        return [_read_token(row) for row in rows]

    @override
    def revoke(self, token: str, at: str) -> None:
        self._connection.execute(
            update(tokens)
            .where(tokens.c.id == token, tokens.c.revoked_at.is_(None))
            .values(revoked_at=at)
        )

    @override
    def touch(self, token: str, day: str) -> None:
        self._connection.execute(
            update(tokens).where(tokens.c.id == token).values(last_used_on=day)
        )


class SqlProtectionTable(ProtectionTable):
    """Rules for refs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def list(self, repository: RepositoryId) -> Sequence[Protection]:
        rows = self._connection.execute(
            select(protections)
            .where(protections.c.repository_id == repository)
            .order_by(protections.c.pattern)
        )
        return [
            Protection(row.pattern, Role(row.role), row.fast_forward_only, row.attestations)
            for row in rows
        ]

    @override
    def put(self, repository: RepositoryId, protection: Protection) -> None:
        self._remove(repository, protection.pattern)
        row = {
            "repository_id": repository,
            "pattern": protection.pattern,
            "role": protection.role.value,
            "fast_forward_only": protection.fast_forward_only,
            "attestations": protection.attestations,
        }
        self._connection.execute(insert(protections), row)

    @override
    def delete(self, repository: RepositoryId, pattern: str) -> None:
        if self._remove(repository, pattern) == 0:
            raise missing_protection(pattern)

    def _remove(self, repository: RepositoryId, pattern: str) -> int:
        return self._connection.execute(
            delete(protections).where(
                protections.c.repository_id == repository, protections.c.pattern == pattern
            )
        ).rowcount


class SqlAuditTable(AuditTable):
    """The audit log in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def append(self, row: AuditRow) -> None:
        values = {
            "at": row.at,
            "actor": row.actor,
            "token": row.token,
            "action": row.action,
            "subject": row.subject,
            "namespace_key": row.namespace,
            "details": dict(row.details),
        }
        self._connection.execute(insert(audit_log), values)

    @override
    def search(self, query: AuditQuery) -> builtins.list[AuditRow]:
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(query.limit)
        if query.namespaces is not None:
            is_of = audit_log.c.namespace_key.in_(sorted(query.namespaces))
            statement = statement.where(is_of, not_(_IS_OF_PREDECESSOR))
        if query.subject is not None:
            statement = statement.where(audit_log.c.subject == query.subject)
        if query.actor is not None:
            statement = statement.where(audit_log.c.actor == query.actor)
        if query.before is not None:
            statement = statement.where(audit_log.c.id < query.before)
        return [_read_audit(row) for row in self._connection.execute(statement)]


def _read_user(row: Row[Any]) -> UserRecord:
    return UserRecord(UserId(row.id), row.name, row.is_admin, row.created_at, row.disabled_at)


def _read_namespace(row: Row[Any]) -> NamespaceRecord:
    return NamespaceRecord(
        row.key, row.name, row.created_at, row.quota_bytes, row.keep_untagged_days
    )


def _read_token(row: Row[Any]) -> TokenRecord:
    return TokenRecord(
        id=row.id,
        user=UserId(row.user_id),
        label=row.label,
        digest=row.digest,
        scopes=None if row.scopes is None else tuple(Scope.parse(text) for text in row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_on=row.last_used_on,
    )


def _read_audit(row: Row[Any]) -> AuditRow:
    return AuditRow(
        at=row.at,
        actor=row.actor,
        token=row.token,
        action=row.action,
        subject=row.subject,
        namespace=row.namespace_key,
        details=row.details,
        id=row.id,
    )
