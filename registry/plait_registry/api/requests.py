"""What the routes read from a request besides its body: the registry, names and kinds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

from fastapi import Path, Request
from pydantic import Field

from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.model.refs import RefKind
from plait_registry.bootstrap import Registry
from plait_registry.domain.access import Caller, Role

LARGEST_PAGE = 200

Choice = TypeVar("Choice", bound=StrEnum)

Namespace = Annotated[str, Path(description="The repository's namespace.")]
Name = Annotated[str, Path(description="The repository's name inside its namespace.")]
Limit = Annotated[int, Field(ge=1, le=LARGEST_PAGE, description="The most items on a page.")]
Cursor = Annotated[str | None, Field(description="The `next` of the page before.")]


def registry_of(request: Request) -> Registry:
    """Return the registry that the application serves."""
    registry: Registry = request.app.state.registry
    return registry


def verify_no_nul(request: Request) -> None:
    """Check that neither path nor query has a NUL, which no name has and PostgreSQL cannot keep.

    Raises:
        InvalidInput: there is one.
    """
    if "\x00" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise InvalidInput("invalid-input", "The address has a NUL in it, which no name has.")


def caller_of(request: Request) -> Caller:
    """Return who makes the request, as the edge found out by its token."""
    caller: Caller = request.state.caller
    return caller


def repository_name(namespace: str, name: str) -> RepositoryName:
    """Return the repository that a path names.

    Raises:
        InvalidInput: `invalid-repository-name`.
    """
    return RepositoryName.parse(f"{namespace}/{name}")


def ref_kind(text: str) -> RefKind:
    """Return the kind of ref that a request names.

    Raises:
        InvalidInput: it is neither `branch` nor `tag`.
    """
    try:
        return RefKind(text)
    except ValueError:
        raise InvalidInput(
            "invalid-input", f"A ref is a 'branch' or a 'tag', not {text!r:.40}."
        ) from None


def parse_choice(kind: type[Choice], text: str, field: str) -> Choice:
    """Return the one of some words that a request names.

    Raises:
        InvalidInput: it is none of them.
    """
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput(
            "invalid-input",
            f"{field}: one of {', '.join(kind)}, not {text!r:.40}.",
            field=field,
        ) from None


def parse_role(text: str) -> Role:
    """Return the role that a request names.

    Raises:
        InvalidInput: there is no such role.
    """
    return parse_choice(Role, text, "role")
