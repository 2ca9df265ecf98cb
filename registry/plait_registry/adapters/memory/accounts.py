"""Users, namespaces, tokens, protected refs and the audit log in memory."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from plait_registry.adapters.memory.state import MemoryTable, verify_present
from plait_registry.domain.access import Role
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


class MemoryUserTable(MemoryTable, UserTable):
    """Users in one transaction."""

    @override
    def insert(self, name: str, *, is_admin: bool, created_at: str) -> UserRecord:
        users = self._draft.users
        if name.lower() in users:
            raise user_exists(users[name.lower()].name)
        record = UserRecord(UserId(len(users) + 1), name, is_admin, created_at, None)
        users[name.lower()] = record
        return record

    @override
    def get(self, name: str) -> UserRecord:
        record = self._state.users.get(name.lower())
        if record is None:
            raise missing_user(name)
        return record

    @override
    def list(self) -> Sequence[UserRecord]:
        return [record for _, record in sorted(self._state.users.items())]

    @override
    def update(self, user: UserId, *, is_admin: bool, disabled_at: str | None) -> None:
        users = self._draft.users
        for key, record in users.items():
            if record.id == user:
                users[key] = replace(record, is_admin=is_admin, disabled_at=disabled_at)


class MemoryNamespaceTable(MemoryTable, NamespaceTable):
    """Namespaces in one transaction."""

    @override
    def insert(self, name: str, created_at: str) -> NamespaceRecord:
        namespaces, key = self._draft.namespaces, name.lower()
        if key in namespaces:
            raise namespace_exists(namespaces[key].name)
        namespaces[key] = NamespaceRecord(key, name, created_at, None, None)
        return namespaces[key]

    @override
    def find(self, key: str) -> NamespaceRecord | None:
        return self._state.namespaces.get(key)

    @override
    def list(self) -> Sequence[NamespaceRecord]:
        return [record for _, record in sorted(self._state.namespaces.items())]

    @override
    def update(self, key: str, *, quota_bytes: int | None, keep_untagged_days: int | None) -> None:
        namespaces = self._draft.namespaces
        namespaces[key] = replace(
            namespaces[key], quota_bytes=quota_bytes, keep_untagged_days=keep_untagged_days
        )

    @override
    def delete(self, key: str) -> None:
        draft = self._draft
        draft.memberships = {k: role for k, role in draft.memberships.items() if k[0] != key}
        draft.drop_webhooks(lambda webhook: webhook.namespace == key)
        del draft.namespaces[key]

    @override
    def set_member(self, key: str, user: UserId, role: Role | None) -> None:
        draft = self._draft
        verify_present(key in draft.namespaces, "such namespace")
        if role is None:
            draft.memberships.pop((key, user), None)
        else:
            draft.memberships[key, user] = role

    @override
    def list_members(self, key: str) -> Sequence[Membership]:
        names = {record.id: record.name for record in self._state.users.values()}
        members = [
            Membership(names[user], role)
            for (namespace, user), role in self._state.memberships.items()
            if namespace == key
        ]
        return sorted(members, key=lambda member: member.user.lower())


class MemoryTokenTable(MemoryTable, TokenTable):
    """Tokens in one transaction."""

    @override
    def insert(self, token: TokenRecord) -> None:
        self._draft.tokens[token.id] = token

    @override
    def find_owner(self, digest: str) -> TokenOwner | None:
        for token in self._state.tokens.values():
            if token.digest == digest:
                user = next(row for row in self._state.users.values() if row.id == token.user)
                roles = {
                    namespace: role
                    for (namespace, member), role in self._state.memberships.items()
                    if member == user.id
                }
                return TokenOwner(token, user, roles)
        return None

    @override
    def get(self, token: str) -> TokenRecord:
        if token not in self._state.tokens:
            raise missing_token(token)
        return self._state.tokens[token]

    @override
    def list(self, user: UserId) -> Sequence[TokenRecord]:
        own = [token for token in self._state.tokens.values() if token.user == user]
        return sorted(own, key=lambda token: (token.created_at, token.id))

    @override
    def revoke(self, token: str, at: str) -> None:
        found = self.get(token)
        if found.revoked_at is None:
            self._draft.tokens[token] = replace(found, revoked_at=at)

    @override
    def touch(self, token: str, day: str) -> None:
        self._draft.tokens[token] = replace(self.get(token), last_used_on=day)


class MemoryProtectionTable(MemoryTable, ProtectionTable):
    """Rules for refs in one transaction."""

    @override
    def list(self, repository: RepositoryId) -> Sequence[Protection]:
        rules = sorted(self._state.protections.items())
        return [rule for (owner, _), rule in rules if owner == repository]

    @override
    def put(self, repository: RepositoryId, protection: Protection) -> None:
        self._draft.protections[repository, protection.pattern] = protection

    @override
    def delete(self, repository: RepositoryId, pattern: str) -> None:
        if self._draft.protections.pop((repository, pattern), None) is None:
            raise missing_protection(pattern)


class MemoryAuditTable(MemoryTable, AuditTable):
    """The audit log in one transaction."""

    @override
    def append(self, row: AuditRow) -> None:
        number = len(self._draft.audit_log) + 1
        self._draft.audit_log[number] = replace(row, id=number)

    @override
    def search(self, query: AuditQuery) -> builtins.list[AuditRow]:
        newest_first = sorted(self._state.audit_log.values(), key=lambda row: -row.id)
        found = [row for row in newest_first if _matches(row, query) and self._is_shown(row, query)]
        return found[: query.limit]

    def _is_shown(self, row: AuditRow, query: AuditQuery) -> bool:
        if query.namespaces is None:
            return True
        namespace = self._state.namespaces.get(row.namespace or "")
        is_of_predecessor = namespace is not None and row.at < namespace.created_at
        return row.namespace in query.namespaces and not is_of_predecessor


def _matches(row: AuditRow, query: AuditQuery) -> bool:
    return (
        (query.subject is None or row.subject == query.subject)
        and (query.actor is None or row.actor == query.actor)
        and (query.before is None or row.id < query.before)
    )
