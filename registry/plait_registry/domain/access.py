"""Who may do what: pure values and one rule.

- A *right* is one of four, each holding the ones before it: read, write, maintain, own.
- A *role* in a namespace gives a right in all of its repositories; an administrator owns all.
- Doing jobs is apart from these: it takes an administrator, whose token may be for that alone.
- A token's *scopes* only ever take away: the caller has the lesser of what the role gives and what
  the token lets through. A token without scopes lets everything through.
- What is not private can be read by every caller, as far as the token's scopes reach.
- What a caller may not read looks as if it were not there (docs/decisions/0046).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from plait.errors import InvalidInput, PermissionDenied
from plait.model.address import RepositoryName, parse_namespace
from plait.model.ids import CommitId, abbreviate


class Right(IntEnum):
    """What a caller may do in a repository or a namespace; a higher one holds the lower ones."""

    NONE = 0  # not even see it
    READ = 1  # see it, pull
    WRITE = 2  # push, move unprotected refs, tag, add notes
    MAINTAIN = 3  # make repositories, move protected refs, delete refs, settings, webhooks
    OWN = 4  # members, deletion of repositories, retention


class Role(StrEnum):
    """What a user is in a namespace."""

    READER = "reader"  # sees private repositories
    WRITER = "writer"  # pushes
    MAINTAINER = "maintainer"  # looks after repositories
    OWNER = "owner"  # looks after people


class Access(StrEnum):
    """How much of its user's rights a token's scope lets through."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    WORK = "work"  # takes on jobs, and reaches no repository


RIGHT_OF_ROLE: Mapping[Role, Right] = {
    Role.READER: Right.READ,
    Role.WRITER: Right.WRITE,
    Role.MAINTAINER: Right.MAINTAIN,
    Role.OWNER: Right.OWN,
}
RIGHT_OF_ACCESS: Mapping[Access, Right] = {
    Access.READ: Right.READ,
    Access.WRITE: Right.WRITE,
    Access.ADMIN: Right.OWN,
    Access.WORK: Right.NONE,
}

EVERYTHING = "*"
"""The target of a scope that reaches all namespaces."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of the registry, and how much a token may do there."""

    target: str
    """`*`, a namespace, or `namespace/name`, in lower case."""
    access: Access

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Return the scope that `text` writes, as `team:read`, `team/sql:write` or `*:admin`.

        Raises:
            InvalidInput: `invalid-scope`.
        """
        target, _, access = text.rpartition(":")
        try:
            scope = cls(_parse_target(target), Access(access))
        except ValueError:
            raise InvalidInput(
                "invalid-scope",
                f"{text!r:.200} is no scope: expected NAMESPACE:ACCESS or NAMESPACE/NAME:ACCESS, "
                "where ACCESS is read, write or admin, and * stands for all namespaces; or *:work, "
                "to do jobs.",
            ) from None
        if scope.access is Access.WORK and target != EVERYTHING:
            raise InvalidInput(
                "invalid-scope",
                f"{text!r:.200} is no scope: who does jobs does those of all namespaces, so that "
                "the scope is *:work.",
            )
        return scope

    def __str__(self) -> str:
        """Return the text that `parse` takes."""
        return f"{self.target}:{self.access}"

    def reaches(self, namespace: str, repository: str | None) -> bool:
        """Tell whether the scope covers a repository, or with None all of a namespace."""
        if self.target in (EVERYTHING, namespace):
            return True
        return repository is not None and self.target == f"{namespace}/{repository}"

    def holds(self, other: Scope) -> bool:
        """Tell whether everything that `other` lets through, this one lets through too."""
        namespace, _, repository = other.target.partition("/")
        is_wider = self.target == EVERYTHING or (
            other.target != EVERYTHING and self.reaches(namespace, repository or None)
        )
        if other.access is Access.WORK:
            return is_wider and self.access in (Access.WORK, Access.ADMIN)
        return is_wider and RIGHT_OF_ACCESS[self.access] >= RIGHT_OF_ACCESS[other.access]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, as its token proves."""

    name: str
    """The user's; `admin` for the token of the data folder."""
    is_admin: bool = False
    """Owns every namespace, and may make users and namespaces."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """By namespace, in lower case."""
    scopes: tuple[Scope, ...] | None = None
    """The token's; None lets everything through."""
    token: str | None = None
    """The id of the token that was sent, where it has one; of a job, the job's."""
    user: int | None = None
    """The user's row; None for callers that are no user."""
    job: str | None = None
    """The digest of a job's token; None where it was no job's."""
    job_kind: str | None = None
    """What kind of a job that is."""
    job_commit: CommitId | None = None
    """Of a validation, the one commit that its process may say something about."""

    def right_in(self, namespace: str) -> Right:
        """Return what the caller may do in all of a namespace."""
        key = namespace.lower()
        return min(self._right_of_role(key), self._let_through(key, None))

    def right_to(self, repository: RepositoryName, *, private: bool) -> Right:
        """Return what the caller may do in a repository."""
        namespace, _, name = repository.key.partition("/")
        given = max(self._right_of_role(namespace), Right.NONE if private else Right.READ)
        return min(given, self._let_through(namespace, name))

    @property
    def administers(self) -> bool:
        """Whether the caller may make users and namespaces: an administrator without limits."""
        return self.is_admin and (
            self.scopes is None or Scope(EVERYTHING, Access.ADMIN) in self.scopes
        )

    @property
    def works(self) -> bool:
        """Whether the caller may take on jobs, whosever they are."""
        return self.job is None and (
            self.administers
            or (self.is_admin and Scope(EVERYTHING, Access.WORK) in (self.scopes or ()))
        )

    def _right_of_role(self, namespace: str) -> Right:
        if self.is_admin:
            return Right.OWN
        role = self.roles.get(namespace)
        return Right.NONE if role is None else RIGHT_OF_ROLE[role]

    def narrowed(self, scopes: Iterable[Scope]) -> tuple[Scope, ...]:
        """Return `scopes`, each of a single repository, as far as the caller's own reach.

        What a caller may do by its role is not looked at, since that changes.
        """
        reached = []
        for scope in scopes:
            namespace, _, repository = scope.target.partition("/")
            right = min(RIGHT_OF_ACCESS[scope.access], self._let_through(namespace, repository))
            access = max(
                (item for item in Access if Right.NONE < RIGHT_OF_ACCESS[item] <= right),
                key=RIGHT_OF_ACCESS.__getitem__,
                default=None,
            )
            if access is not None:
                reached.append(Scope(scope.target, access))
        return tuple(reached)

    def _let_through(self, namespace: str, repository: str | None) -> Right:
        if self.scopes is None:
            return Right.OWN
        rights = (
            RIGHT_OF_ACCESS[scope.access]
            for scope in self.scopes
            if scope.reaches(namespace, repository)
        )
        return max(rights, default=Right.NONE)


SYSTEM = Caller("system", is_admin=True)
"""The operator's own programs, which hold the database in their hands anyway."""


@dataclass(frozen=True, slots=True)
class Readable:
    """Which repositories a caller may read, in a form that a database can filter by.

    A repository is readable if its namespace is in `members` or it is not private, and a scope
    reaches it.
    """

    members: frozenset[str] | None
    """Namespaces whose private repositories are readable; None: of all of them."""
    namespaces: frozenset[str] | None
    """Namespaces that scopes reach as a whole; None: all."""
    repositories: frozenset[str]
    """Keys of single repositories that scopes reach besides."""

    @classmethod
    def by(cls, caller: Caller) -> Readable:
        """Return what a caller may read."""
        members = None if caller.is_admin else frozenset(caller.roles)
        if caller.scopes is None:
            return cls(members, None, frozenset())
        targets = {scope.target for scope in caller.scopes if scope.access is not Access.WORK}
        if EVERYTHING in targets:
            return cls(members, None, frozenset())
        return cls(
            members,
            frozenset(target for target in targets if "/" not in target),
            frozenset(target for target in targets if "/" in target),
        )

    def within(self, namespace: str) -> Readable:
        """Return the single repositories of a namespace, by key, that scopes reach in it."""
        begin = f"{namespace}/"
        single = frozenset(key for key in self.repositories if key.startswith(begin))
        return Readable(self.members, frozenset(), single)

    def includes(self, repository: RepositoryName, *, private: bool) -> bool:
        """Tell whether a repository is readable."""
        namespace = repository.key.partition("/")[0]
        is_open = not private or self.members is None or namespace in self.members
        is_reached = (
            self.namespaces is None
            or namespace in self.namespaces
            or repository.key in self.repositories
        )
        return is_open and is_reached


def verify_right(caller: Caller, have: Right, need: Right, what: str) -> None:
    """Check that a caller who can see `what` has the right that an action needs.

    Raises:
        PermissionDenied: `permission-denied`.
    """
    if have < need:
        raise PermissionDenied(
            "permission-denied",
            f"{caller.name} may not do this in {what}: it takes the right to {need.name.lower()}, "
            f"and this token has the right to {have.name.lower()}. Ask an owner for a role, or use "
            "a token with a wider scope.",
            need=need.name.lower(),
            have=have.name.lower(),
        )


def verify_administers(caller: Caller) -> None:
    """Check that a caller may make users and namespaces.

    Raises:
        PermissionDenied: `permission-denied`.
    """
    if not caller.administers:
        raise PermissionDenied(
            "permission-denied",
            f"{caller.name} may not do this: it takes an administrator of the registry.",
            need="admin",
        )


def verify_works(caller: Caller) -> None:
    """Check that a caller may take on jobs.

    Raises:
        PermissionDenied: `permission-denied`.
    """
    if not caller.works:
        raise PermissionDenied(
            "permission-denied",
            f"{caller.name} may not take on jobs: it takes a token of an administrator, made for "
            "that by `plait-registry token create --user NAME --scope '*:work'`.",
            need="work",
        )


def verify_judges(caller: Caller, commit: CommitId) -> None:
    """Check that a caller may say what a merge of a commit gives; what else it takes comes besides.

    A job's token reaches its whole repository, and first digests stay: a worker that is not to be
    trusted could otherwise block commits that nobody asked it about.

    Raises:
        PermissionDenied: `permission-denied`.
    """
    if caller.job_commit not in {None, commit}:
        raise PermissionDenied(
            "permission-denied",
            f"The token of a validation is for the commit that was asked for, and not for "
            f"{abbreviate(commit)}.",
        )


def _parse_target(text: str) -> str:
    if text == EVERYTHING:
        return text
    try:
        return RepositoryName.parse(text).key if "/" in text else parse_namespace(text).lower()
    except InvalidInput as error:
        raise ValueError(text) from error
