"""Routes of pushes, in the order in which a client calls them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from plait import wire
from plait.errors import AlreadyExists, Conflict, Integrity, NotFound, PermissionDenied
from plait_registry.api.errors import describe
from plait_registry.api.requests import Name, Namespace, caller_of, registry_of, repository_name
from plait_registry.domain.records import PushId

router = APIRouter(prefix="/repositories/{namespace}/{name}/pushes", tags=["pushes"])

Push = Annotated[str, Path(description="The id from the first step.")]


@router.post("", status_code=201, responses=describe(NotFound, PermissionDenied, Conflict))
def begin_push(
    request: Request, namespace: Namespace, name: Name, wanted: wire.NewPush
) -> wire.PushPlan:
    """Begin a push: say what it wants and learn what it has to upload."""
    return registry_of(request).push.begin(
        caller_of(request), repository_name(namespace, name), wanted
    )


@router.post("/{push}/commits", responses=describe(NotFound, PermissionDenied, Conflict))
def stage_commits(
    request: Request, namespace: Namespace, name: Name, push: Push, staged: wire.StagedCommits
) -> wire.PushPlan:
    """Add further commits to a push and learn what they have to upload."""
    return registry_of(request).push.stage(
        caller_of(request), repository_name(namespace, name), PushId(push), staged
    )


@router.post("/{push}/uploads", responses=describe(NotFound, PermissionDenied, Conflict))
def sign_uploads(
    request: Request, namespace: Namespace, name: Name, push: Push, wanted: wire.UploadRequest
) -> wire.Uploads:
    """Get signed requests that upload objects straight to the store.

    Send each request exactly as it is signed. A part of a larger object also needs the header
    `x-amz-checksum-sha256` with the base64 sha256 of the part's bytes. The store answers 412 for
    what has arrived already, which is as good as a success.
    """
    return registry_of(request).push.sign_uploads(
        caller_of(request), repository_name(namespace, name), PushId(push), wanted
    )


@router.post(
    "/{push}/complete",
    responses=describe(NotFound, PermissionDenied, AlreadyExists, Conflict, Integrity),
)
def complete_push(
    request: Request, namespace: Namespace, name: Name, push: Push
) -> wire.PushResult:
    """Verify everything that arrived, then make it visible and move the ref, at once.

    Asking again gets the same answer.
    """
    registry = registry_of(request)
    result = registry.push.complete(
        caller_of(request), repository_name(namespace, name), PushId(push)
    )
    registry.meter.push_completed(verified=result.bytes_verified, stored=result.bytes_stored)
    return result
