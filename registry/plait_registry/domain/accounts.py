"""Users, namespaces, tokens, protected refs and the audit log: their values and their tables.

A user and an organisation are namespaces alike, so that their names come from one space. Nobody has
a password: who a caller is, a token proves, of which only the sha256 is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NewType, Protocol

from plait_registry.domain.access import Role, Scope
from plait_registry.domain.records import RepositoryId

UserId = NewType("UserId", int)

TOKEN_PREFIX = "plait_"  # noqa: S105 - it marks a token, so that leak scanners can find one


@dataclass(frozen=True, slots=True)
class UserRecord:
    """Somebody, or some service, that tokens belong to."""

    id: UserId
    name: str
    is_admin: bool
    created_at: str
    disabled_at: str | None
    """From then on, none of the user's tokens works."""


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """What repositories are gathered under: a user's name, or an organisation's."""

    key: str
    """The name in lower case."""
    name: str
    created_at: str
    quota_bytes: int | None
    """The most bytes that its repositories may hold together; None: no limit."""
    keep_untagged_days: int | None
    """How long the weights of untagged commits are kept; None: for ever."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a user is in a namespace."""

    user: str
    role: Role


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token, without its secret."""

    id: str
    """What people name it by."""
    user: UserId
    label: str
    digest: str
    """sha256 of the token, in hexadecimal: it has 256 random bits, so nobody can guess back."""
    scopes: tuple[Scope, ...] | None
    """None: everything that the user may do."""
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_on: str | None
    """The day, as 2026-11-24: writing down every use would make each request a write."""


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """A token with what its user is."""

    token: TokenRecord
    user: UserRecord
    roles: Mapping[str, Role]
    """By namespace key."""


@dataclass(frozen=True, slots=True)
class Protection:
    """A rule for the refs of a repository whose names match a pattern."""

    pattern: str
    """As in a shell: `*` stands for any run of characters, slashes too."""
    role: Role
    """The least role that may make, move or delete such refs."""
    fast_forward_only: bool
    """Nobody, whatever their role, moves them so that commits are left behind, or deletes them."""
    attestations: int = 0
    """How many validators must have attested a commit before such a ref points at it."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change, and who made it."""

    at: str
    actor: str
    token: str | None
    """The id of the token by which it was made."""
    action: str
    """As `ref.move` or `token.create`; append-only, see docs/security.md."""
    subject: str
    """What was changed: a repository, a namespace, a user or a token's id."""
    namespace: str | None
    """The key of the namespace whose owners may read the row; None: for administrators only."""
    details: Mapping[str, Any]
    id: int = 0
    """The order of the log; given by the database."""


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which part of the audit log to read, newest first; None means any."""

    namespaces: frozenset[str] | None = None
    """Keys of the namespaces whose rows to show, without those of a deleted one of the same name;
    None: all rows."""
    subject: str | None = None
    actor: str | None = None
    before: int | None = None
    """Only rows older than the one of this id."""
    limit: int = 50


class UserTable(Protocol):
    """Users by name; names differ in more than case."""

    def insert(self, name: str, *, is_admin: bool, created_at: str) -> UserRecord:
        """Add a user.

        Raises:
            AlreadyExists: `user-exists`.
        """

    def get(self, name: str) -> UserRecord:
        """Return a user, whatever the case of `name`.

        Raises:
            NotFound: `user-not-found`.
        """

    def list(self) -> Sequence[UserRecord]:
        """Return all users, sorted by name in lower case."""

    def update(self, user: UserId, *, is_admin: bool, disabled_at: str | None) -> None:
        """Write what can change about a user."""


class NamespaceTable(Protocol):
    """Namespaces and their members."""

    def insert(self, name: str, created_at: str) -> NamespaceRecord:
        """Add a namespace without members.

        Raises:
            AlreadyExists: `namespace-exists`.
        """

    def find(self, key: str) -> NamespaceRecord | None:
        """Return a namespace by its key."""

    def list(self) -> Sequence[NamespaceRecord]:
        """Return all namespaces, sorted by key."""

    def update(self, key: str, *, quota_bytes: int | None, keep_untagged_days: int | None) -> None:
        """Write what can change about a namespace."""

    def delete(self, key: str) -> None:
        """Remove a namespace and its memberships; the caller knows that it holds no repository."""

    def set_member(self, key: str, user: UserId, role: Role | None) -> None:
        """Give a user a role, or with None take it away."""

    def list_members(self, key: str) -> Sequence[Membership]:
        """Return the members, sorted by name in lower case."""


class TokenTable(Protocol):
    """Tokens by the sha256 of their secrets."""

    def insert(self, token: TokenRecord) -> None:
        """Add a token."""

    def find_owner(self, digest: str) -> TokenOwner | None:
        """Return a token, its user and the user's roles, in one query."""

    def get(self, token: str) -> TokenRecord:
        """Return a token by its id.

        Raises:
            NotFound: `token-not-found`.
        """

    def list(self, user: UserId) -> Sequence[TokenRecord]:
        """Return a user's tokens, oldest first, revoked ones too."""

    def revoke(self, token: str, at: str) -> None:
        """Make a token useless from now on; one that is revoked already stays as it is."""

    def touch(self, token: str, day: str) -> None:
        """Remember on which day a token was last used."""


class ProtectionTable(Protocol):
    """Rules for the refs of repositories."""

    def list(self, repository: RepositoryId) -> Sequence[Protection]:
        """Return the rules, sorted by pattern."""

    def put(self, repository: RepositoryId, protection: Protection) -> None:
        """Add a rule, or replace the one with its pattern."""

    def delete(self, repository: RepositoryId, pattern: str) -> None:
        """Remove a rule.

        Raises:
            NotFound: `protection-not-found`.
        """


class AuditTable(Protocol):
    """The log of all changes; rows are only ever added."""

    def append(self, row: AuditRow) -> None:
        """Add a row."""

    def search(self, query: AuditQuery) -> Sequence[AuditRow]:
        """Return the matching rows, newest first."""
