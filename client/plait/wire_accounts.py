"""The HTTP API's shapes of users, namespaces, tokens, rules and the audit log; see `plait.wire`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plait.wire import about


@dataclass(frozen=True, slots=True)
class User:
    """Somebody, or some service, that tokens belong to."""

    name: str = about("Also that of a namespace of the user's own.")
    admin: bool = about("May make users and namespaces, and owns every namespace.")
    created_at: str = about("UTC, as 2026-11-24T06:07:00Z.")
    disabled_at: str | None = about("From then on, none of the user's tokens works.")


@dataclass(frozen=True, slots=True)
class UserList:
    """All users."""

    users: list[User] = about("Sorted by name.")


@dataclass(frozen=True, slots=True)
class NewUser:
    """A wish for a user."""

    name: str = about("No user and no namespace has it yet, in any case.")
    admin: bool = about("May make users and namespaces.", default=False)


@dataclass(frozen=True, slots=True)
class UserUpdate:
    """What shall change about a user; null leaves something as it is."""

    admin: bool | None = about("May make users and namespaces.", default=None)
    disabled: bool | None = about("None of the user's tokens works.", default=None)


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without its secret."""

    id: str = about("What it is revoked by.")
    user: str = about("Whose it is.")
    label: str = about("What it is for, in the owner's words.")
    scopes: list[str] | None = about("As `team/sql:read`; null: everything that the user may do.")
    created_at: str = about("UTC.")
    expires_at: str | None = about("UTC; null: never.")
    revoked_at: str | None = about("UTC; null: it is not revoked.")
    last_used_on: str | None = about("The day, as 2026-11-24; null: not yet.")


@dataclass(frozen=True, slots=True)
class TokenList:
    """The tokens of a user."""

    tokens: list[Token] = about("Oldest first; revoked and expired ones, too.")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A wish for a token."""

    label: str = about("What it is for.", default="")
    scopes: list[str] | None = about(
        "As `team:read`, `team/sql:write`, `*:admin`; null: everything that the user may do.",
        default=None,
    )
    expires: str = about("As `90d`, `2027-01-31`, a time in UTC, or `never`.", default="90d")
    user: str | None = about("Whose it shall be; null: the caller's own.", default=None)


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A token that was just made."""

    token: Token = about("The token.")
    secret: str = about("What a client sends. It is never shown again.")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the registry takes a caller for."""

    name: str = about("The user's; `admin` for the token of the data folder.")
    admin: bool = about("Whether the user is an administrator.")
    roles: dict[str, str] = about("By namespace, in lower case, as far as the token lets see.")
    token: Token | None = about("The token that was sent; null for that of the data folder.")


@dataclass(frozen=True, slots=True)
class Namespace:
    """What repositories are gathered under: a user's name, or an organisation's."""

    name: str = about("As it was made.")
    created_at: str = about("UTC.")
    quota_bytes: int | None = about("The most that its repositories may hold; null: no limit.")
    keep_untagged_days: int | None = about(
        "How long weights of untagged commits are kept; null: for ever."
    )
    role: str | None = about("The caller's; null for an administrator who has none.")


@dataclass(frozen=True, slots=True)
class NamespaceList:
    """The namespaces that a caller has to do with."""

    namespaces: list[Namespace] = about("Sorted by name.")


@dataclass(frozen=True, slots=True)
class Member:
    """What a user is in a namespace."""

    user: str = about("The user's name.")
    role: str = about("`reader`, `writer`, `maintainer` or `owner`.")


@dataclass(frozen=True, slots=True)
class NamespaceDetails:
    """A namespace with its members."""

    namespace: Namespace = about("The namespace.")
    members: list[Member] = about("Sorted by name.")


@dataclass(frozen=True, slots=True)
class NewNamespace:
    """A wish for an organisation."""

    name: str = about("No user and no namespace has it yet, in any case.")
    owner: str | None = about("The user who looks after it; null: administrators.", default=None)


@dataclass(frozen=True, slots=True)
class NamespaceUpdate:
    """What shall change about a namespace; null leaves something as it is, 0 lifts a limit."""

    quota_bytes: int | None = about("For administrators.", default=None)
    keep_untagged_days: int | None = about("For owners.", default=None)


@dataclass(frozen=True, slots=True)
class MemberRole:
    """What a user shall be in a namespace."""

    role: str = about("`reader`, `writer`, `maintainer` or `owner`.")


@dataclass(frozen=True, slots=True)
class Protection:
    """A rule for the refs of a repository whose names match a pattern."""

    pattern: str = about("As `main` or `release/*`; `*` stands for any characters, slashes too.")
    role: str = about(
        "The least role that may make, move or delete such refs.", default="maintainer"
    )
    fast_forward_only: bool = about(
        "Nobody moves them so that commits are left behind, or deletes them.", default=False
    )
    attestations: int = about(
        "How many validators must have attested a commit before such a ref points at it.",
        default=0,
    )


@dataclass(frozen=True, slots=True)
class ProtectionList:
    """The rules of a repository, all of which hold."""

    protections: list[Protection] = about("Sorted by pattern.")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change, and who made it."""

    id: int = about("Its place in the log.")
    at: str = about("UTC.")
    actor: str = about("Who made it.")
    token: str | None = about("The id of the token by which it was made.")
    action: str = about("As `ref.move`; see docs/security.md.")
    subject: str = about("A repository, a namespace, a user or a token's id.")
    namespace: str | None = about("Whose owners may read the row; null: administrators only.")
    details: dict[str, Any] = about("The facts, by name; which ones depends on the action.")


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A part of the audit log."""

    rows: list[AuditRow] = about("Newest first.")
    next: str | None = about("Send this as `cursor` for the next page; null on the last.")
