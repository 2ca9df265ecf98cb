"""Accounts of a registry: who the caller is, users, tokens, namespaces, rules, the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from plait import wire
from plait.model.address import RepositoryName
from plait.paging import read_pages
from plait.transport import Transport, repository_path
from plait.wire_accounts import (
    AuditPage,
    AuditRow,
    CreatedToken,
    Identity,
    MemberRole,
    Namespace,
    NamespaceDetails,
    NamespaceList,
    NamespaceUpdate,
    NewNamespace,
    NewToken,
    NewUser,
    Protection,
    ProtectionList,
    Token,
    TokenList,
    User,
    UserList,
    UserUpdate,
)

_USERS = f"{wire.API_PREFIX}/users"
_TOKENS = f"{wire.API_PREFIX}/tokens"
_NAMESPACES = f"{wire.API_PREFIX}/namespaces"


def identify(transport: Transport) -> Identity:
    """Return who the registry takes the caller for.

    Raises:
        Unauthenticated: the token does not count.
    """
    return wire.decode(Identity, transport.call("GET", f"{wire.API_PREFIX}/user"))


class Users:
    """The users of a registry: an administrator's task."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, *, admin: bool = False) -> User:
        """Make a user, who has no token yet, and a namespace of the same name.

        Raises:
            AlreadyExists: `user-exists`, `namespace-exists`.
        """
        body = wire.encode(NewUser(name, admin))
        return wire.decode(User, self._transport.call("POST", _USERS, body=body))

    def list(self) -> Sequence[User]:
        """Return all users, sorted by name."""
        return wire.decode(UserList, self._transport.call("GET", _USERS)).users

    def update(self, name: str, *, admin: bool | None = None, disabled: bool | None = None) -> User:
        """Return the changed user; None leaves something as it is.

        Raises:
            NotFound: `user-not-found`.
        """
        body = wire.encode(UserUpdate(admin, disabled))
        answer = self._transport.call("PATCH", f"{_USERS}/{_quote(name)}", body=body)
        return wire.decode(User, answer)


class Tokens:
    """One's own tokens; as an administrator, everybody's."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        label: str = "",
        *,
        scopes: Sequence[str] | None = None,
        expires: str = "90d",
        user: str | None = None,
    ) -> CreatedToken:
        """Make a token; its secret is in this answer and in none after it.

        `scopes` as `team/sql:read`, None for everything that the user may do; `expires` as `90d`,
        `2027-01-31` or `never`.

        Raises:
            PermissionDenied: it would be wider than the token that asks, or outlive it.
        """
        wanted = NewToken(label, None if scopes is None else [*scopes], expires, user)
        answer = self._transport.call("POST", _TOKENS, body=wire.encode(wanted))
        return wire.decode(CreatedToken, answer)

    def list(self, user: str | None = None) -> Sequence[Token]:
        """Return the tokens of the caller or of `user`, oldest first, revoked ones too."""
        answer = self._transport.call("GET", _TOKENS, query={"user": user})
        return wire.decode(TokenList, answer).tokens

    def revoke(self, token: str) -> None:
        """Make a token useless at once; `token` is its id.

        Raises:
            NotFound: `token-not-found`.
        """
        self._transport.call("DELETE", f"{_TOKENS}/{_quote(token)}")


class Namespaces:
    """What repositories are gathered under: organisations, and a namespace for each user."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, *, owner: str | None = None) -> Namespace:
        """Make an organisation; for administrators.

        Raises:
            AlreadyExists: `namespace-exists`.
        """
        body = wire.encode(NewNamespace(name, owner))
        return wire.decode(Namespace, self._transport.call("POST", _NAMESPACES, body=body))

    def list(self) -> Sequence[Namespace]:
        """Return the namespaces in which the caller has a role; for administrators, all."""
        answer = self._transport.call("GET", _NAMESPACES)
        return wire.decode(NamespaceList, answer).namespaces

    def get(self, name: str) -> NamespaceDetails:
        """Return a namespace with its members.

        Raises:
            NotFound: `namespace-not-found`, also where the caller has no role.
        """
        return wire.decode(NamespaceDetails, self._call("GET", name))

    def update(
        self, name: str, *, quota_bytes: int | None = None, keep_untagged_days: int | None = None
    ) -> Namespace:
        """Return the changed namespace; None leaves something as it is, 0 lifts a limit."""
        body = wire.encode(NamespaceUpdate(quota_bytes, keep_untagged_days))
        return wire.decode(Namespace, self._call("PATCH", name, body=body))

    def delete(self, name: str) -> None:
        """Delete an organisation.

        Raises:
            Conflict: `namespace-in-use`, it holds repositories or is a user's own.
        """
        self._call("DELETE", name)

    def set_member(self, name: str, user: str, role: str) -> None:
        """Make a user a `reader`, `writer`, `maintainer` or `owner`."""
        body = wire.encode(MemberRole(role))
        self._call("PUT", name, tail=f"/members/{_quote(user)}", body=body)

    def remove_member(self, name: str, user: str) -> None:
        """Take a user's role away.

        Raises:
            Conflict: `owner-required`, nobody else is an owner.
        """
        self._call("DELETE", name, tail=f"/members/{_quote(user)}")

    def _call(self, method: str, name: str, *, tail: str = "", **options: Any) -> Any:
        return self._transport.call(method, f"{_NAMESPACES}/{_quote(name)}{tail}", **options)


class Protections:
    """The rules for a repository's refs: a maintainer's task."""

    def __init__(self, transport: Transport, repository: RepositoryName) -> None:
        self._transport = transport
        self._path = repository_path(repository, "/protections")

    def list(self) -> Sequence[Protection]:
        """Return the rules, sorted by pattern."""
        return wire.decode(ProtectionList, self._transport.call("GET", self._path)).protections

    def set(
        self,
        pattern: str,
        *,
        role: str = "maintainer",
        fast_forward_only: bool = False,
        attestations: int = 0,
    ) -> Protection:
        """Make a rule, or replace the one of the same pattern, as `main` or `release/*`."""
        body = wire.encode(Protection(pattern, role, fast_forward_only, attestations))
        return wire.decode(Protection, self._transport.call("PUT", self._path, body=body))

    def delete(self, pattern: str) -> None:
        """Lift a rule.

        Raises:
            NotFound: `protection-not-found`.
        """
        self._transport.call("DELETE", self._path, query={"pattern": pattern})


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows of the audit log to read; None means any."""

    namespace: str | None = None
    subject: str | None = None
    """As `team/sql`, exactly."""
    actor: str | None = None


def read_audit(transport: Transport, wanted: AuditFilter) -> Iterator[AuditRow]:
    """Yield the changes that the caller may read about, newest first.

    Raises:
        PermissionDenied: the caller owns no namespace.
    """

    def ask(cursor: str | None) -> AuditPage:
        query = {
            "namespace": wanted.namespace,
            "subject": wanted.subject,
            "actor": wanted.actor,
            "cursor": cursor,
        }
        answer = transport.call("GET", f"{wire.API_PREFIX}/audit", query=query)
        return wire.decode(AuditPage, answer)

    for page in read_pages(ask):
        yield from page.rows


def _quote(name: str) -> str:
    return quote(name, safe="")
