"""What is said where an account, a token or a rule is missing or taken."""

from __future__ import annotations

from plait.errors import AlreadyExists, NotFound


def missing_user(name: str) -> NotFound:
    """Return the error that a user is not there."""
    return NotFound(
        "user-not-found", f"There is no user {name!r:.100} here: check the name.", user=name
    )


def user_exists(name: str) -> AlreadyExists:
    """Return the error that a user has the name already, perhaps in another case."""
    return AlreadyExists(
        "user-exists", f"There is a user {name!r} already: choose another name.", user=name
    )


def missing_namespace(name: str) -> NotFound:
    """Return the error that a namespace is not there; also for one the caller may not look into."""
    return NotFound(
        "namespace-not-found",
        f"There is no namespace {name!r:.100} here, or you may not see it: check the name.",
        namespace=name,
    )


def namespace_exists(name: str) -> AlreadyExists:
    """Return the error that a namespace has the name already, perhaps in another case."""
    return AlreadyExists(
        "namespace-exists",
        f"There is a namespace {name!r} already: choose another name.",
        namespace=name,
    )


def missing_token(token: str) -> NotFound:
    """Return the error that a token is not there; also for somebody else's."""
    return NotFound(
        "token-not-found",
        f"There is no token {token!r:.40} of yours: `plait token list` lists them.",
        token=token,
    )


def missing_protection(pattern: str) -> NotFound:
    """Return the error that a repository has no such rule."""
    return NotFound(
        "protection-not-found",
        f"There is no rule for {pattern!r:.200} in this repository.",
        pattern=pattern,
    )
