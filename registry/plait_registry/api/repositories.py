"""Routes of repositories."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from plait import wire
from plait.errors import AlreadyExists, InvalidInput, NotFound, PermissionDenied
from plait.model.address import RepositoryName
from plait.model.repository_kind import RepositoryKind, parse_repository_kind
from plait_registry.api.errors import describe
from plait_registry.api.requests import (
    Cursor,
    Limit,
    Name,
    Namespace,
    caller_of,
    registry_of,
    repository_name,
)
from plait_registry.domain.access import Readable
from plait_registry.domain.records import RepositoryQuery, RepositoryRecord
from plait_registry.domain.validation_wish import parse_trigger

LONGEST_DESCRIPTION = 1_000

router = APIRouter(tags=["repositories"])


class RepositoryFilters(BaseModel):
    """Which repositories to list; all filters must match."""

    query: str = Field("", description="A part of the name or the description.")
    namespace: str | None = Field(None, description="Only of this namespace.")
    base: str | None = Field(None, description="Only on this base model.")
    adapter_type: str | None = Field(None, description="Only of this type, as LORA, STACK or BASE.")
    kind: RepositoryKind | None = Field(None, description="Only of adapters, or only of bases.")
    cursor: Cursor = None
    limit: Limit = 50


@router.get("/repositories", responses=describe())
def list_repositories(
    request: Request, filters: Annotated[RepositoryFilters, Query()]
) -> wire.RepositoryPage:
    """List the repositories that match all of the filters, sorted by name."""
    found = registry_of(request).list_repositories(
        RepositoryQuery(
            readable=Readable.by(caller_of(request)),
            text=filters.query,
            namespace=filters.namespace,
            base=filters.base,
            adapter_type=filters.adapter_type and filters.adapter_type.upper(),
            kind=filters.kind,
            after=None if filters.cursor is None else RepositoryName.parse(filters.cursor).key,
            # One more than is shown tells whether there is another page.
            limit=filters.limit + 1,
        )
    )
    shown = list(found[: filters.limit])
    following = str(shown[-1].name) if len(found) > len(shown) else None
    return wire.RepositoryPage([_show(record) for record in shown], following)


@router.post("/repositories", status_code=201, responses=describe(AlreadyExists, PermissionDenied))
def create_repository(request: Request, wanted: wire.NewRepository) -> wire.Repository:
    """Make an empty repository, whose default branch is `main`."""
    name = repository_name(wanted.namespace, wanted.name)
    _verify_description(wanted.description)
    created = registry_of(request).create_repository(
        caller_of(request),
        name,
        wanted.description,
        private=wanted.private,
        kind=parse_repository_kind(wanted.kind),
    )
    return _show(created)


@router.get("/repositories/{namespace}/{name}", responses=describe(NotFound))
def get_repository(request: Request, namespace: Namespace, name: Name) -> wire.Repository:
    """Return one repository, with what its default branch points at."""
    return _show(
        registry_of(request).get_repository(caller_of(request), repository_name(namespace, name))
    )


@router.patch("/repositories/{namespace}/{name}", responses=describe(NotFound, PermissionDenied))
def update_repository(
    request: Request, namespace: Namespace, name: Name, wanted: wire.RepositoryUpdate
) -> wire.Repository:
    """Change a repository's description, who may see it, or when it asks for validations."""
    if wanted.description is not None:
        _verify_description(wanted.description)
    updated = registry_of(request).update_repository(
        caller_of(request),
        repository_name(namespace, name),
        description=wanted.description,
        private=wanted.private,
        validate_on=None if wanted.validate_on is None else parse_trigger(wanted.validate_on),
    )
    return _show(updated)


@router.delete(
    "/repositories/{namespace}/{name}",
    status_code=204,
    responses=describe(NotFound, PermissionDenied),
)
def delete_repository(request: Request, namespace: Namespace, name: Name) -> None:
    """Delete a repository with its refs and notes; its weights go with garbage collection."""
    registry_of(request).delete_repository(caller_of(request), repository_name(namespace, name))


def _verify_description(text: str) -> None:
    if len(text) > LONGEST_DESCRIPTION or not text.isprintable():
        raise InvalidInput(
            "invalid-input",
            "description: one line of printable text, of at most "
            f"{LONGEST_DESCRIPTION} characters.",
            field="description",
        )


def _show(record: RepositoryRecord) -> wire.Repository:
    return wire.Repository(
        namespace=record.name.namespace,
        name=record.name.name,
        description=record.description,
        private=record.private,
        default_branch=record.default_branch,
        head=record.head,
        created_at=record.created_at,
        adapter_type=record.adapter_type,
        base=record.base,
        kind=record.kind.value,
        validate_on=record.validate_on.value,
    )
