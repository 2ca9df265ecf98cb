"""Routes of branches and tags."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from plait import wire
from plait.errors import AlreadyExists, Conflict, NotFound, PermissionDenied
from plait.model.ids import parse_commit_id
from plait.model.refs import Ref, RefUpdate, parse_ref_name
from plait_registry.api.errors import describe
from plait_registry.api.requests import (
    Name,
    Namespace,
    caller_of,
    ref_kind,
    registry_of,
    repository_name,
)

router = APIRouter(prefix="/repositories/{namespace}/{name}/refs", tags=["refs"])

Kind = Annotated[str, Path(description="`branch` or `tag`.")]
RefPath = Annotated[str, Path(description="The ref's name, which may hold slashes.")]


@router.get("", responses=describe(NotFound))
def list_refs(request: Request, namespace: Namespace, name: Name) -> wire.RefList:
    """List all branches and tags."""
    repository, refs = registry_of(request).list_refs(
        caller_of(request), repository_name(namespace, name)
    )
    return wire.RefList([_show(ref) for ref in refs], repository.default_branch)


@router.post(
    "", status_code=201, responses=describe(NotFound, PermissionDenied, AlreadyExists, Conflict)
)
def create_ref(request: Request, namespace: Namespace, name: Name, wanted: wire.NewRef) -> wire.Ref:
    """Make a branch or tag at a revision that is in the repository."""
    repository = repository_name(namespace, name)
    kind, ref = ref_kind(wanted.kind), parse_ref_name(wanted.name)
    return _show(
        registry_of(request).create_ref(caller_of(request), repository, kind, ref, wanted.revision)
    )


@router.patch(
    "/{kind}/{ref:path}", responses=describe(NotFound, PermissionDenied, AlreadyExists, Conflict)
)
def move_ref(
    request: Request, namespace: Namespace, name: Name, kind: Kind, ref: RefPath, move: wire.RefMove
) -> wire.Ref:
    """Move a branch to another commit, if it points where the caller saw it."""
    update = RefUpdate(
        ref_kind(kind),
        parse_ref_name(ref),
        parse_commit_id(move.expected),
        parse_commit_id(move.new),
        move.force,
    )
    return _show(
        registry_of(request).move_ref(caller_of(request), repository_name(namespace, name), update)
    )


@router.delete(
    "/{kind}/{ref:path}", status_code=204, responses=describe(NotFound, PermissionDenied, Conflict)
)
def delete_ref(
    request: Request,
    namespace: Namespace,
    name: Name,
    kind: Kind,
    ref: RefPath,
    expected: Annotated[str, Query(description="The commit id that the ref must point at now.")],
) -> None:
    """Delete a branch or tag; the name of a deleted tag cannot be used again."""
    registry_of(request).delete_ref(
        caller_of(request),
        repository_name(namespace, name),
        ref_kind(kind),
        parse_ref_name(ref),
        parse_commit_id(expected),
    )


def _show(ref: Ref) -> wire.Ref:
    return wire.Ref(ref.kind, ref.name, ref.target)
