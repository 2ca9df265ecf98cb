"""What the routes read from a request besides its body: the registry, names and kinds."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request
from pydantic import Field

from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.model.refs import RefKind
from plait_registry.bootstrap import Registry

LARGEST_PAGE = 200

Namespace = Annotated[str, Path(description="The repository's namespace.")]
Name = Annotated[str, Path(description="The repository's name inside its namespace.")]
Limit = Annotated[int, Field(ge=1, le=LARGEST_PAGE, description="The most items on a page.")]
Cursor = Annotated[str | None, Field(description="The `next` of the page before.")]


def registry_of(request: Request) -> Registry:
    """Return the registry that the application serves."""
    registry: Registry = request.app.state.registry
    return registry


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
