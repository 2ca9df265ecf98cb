"""Routes of manifests and of the files that they list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from plait import wire
from plait.errors import InvalidInput, NotFound
from plait.model.ids import ManifestId, parse_manifest_id, parse_object_id
from plait_registry.api.errors import describe
from plait_registry.api.requests import Name, Namespace, caller_of, registry_of, repository_name
from plait_registry.services.files import DownloadPlan

MOST_MANIFESTS_PER_CALL = 100

router = APIRouter(prefix="/repositories/{namespace}/{name}", tags=["files"])

_JSON = "application/json"


@router.post(
    "/manifests/query",
    responses={**describe(NotFound), 200: {"model": wire.ManifestList}},
    response_class=Response,
)
def query_manifests(
    request: Request, namespace: Namespace, name: Name, wanted: wire.ManifestRequest
) -> Response:
    """Return several manifests at once."""
    _verify_count(wanted.ids, MOST_MANIFESTS_PER_CALL)
    ids = [parse_manifest_id(text) for text in wanted.ids]
    found = registry_of(request).files.manifests(
        caller_of(request), repository_name(namespace, name), ids
    )
    # They are stored as JSON: to parse them only to write them again would take most of the time.
    records = [_join_record(manifest, found[manifest]) for manifest in ids]
    return Response(b'{"manifests":[' + b",".join(records) + b"]}", media_type=_JSON)


@router.get(
    "/manifests/{manifest}",
    responses={
        **describe(NotFound),
        200: {"description": "The document.", "content": {_JSON: {"schema": {"type": "object"}}}},
    },
    response_class=Response,
)
def get_manifest(
    request: Request,
    namespace: Namespace,
    name: Name,
    manifest: Annotated[str, Path(description="A full manifest id.")],
) -> Response:
    """Return one manifest as exactly the bytes of which its id is the sha256."""
    wanted = parse_manifest_id(manifest)
    found = registry_of(request).files.manifests(
        caller_of(request), repository_name(namespace, name), [wanted]
    )
    return Response(found[wanted], media_type=_JSON)


@router.post("/downloads", responses=describe(NotFound))
def plan_downloads(
    request: Request, namespace: Namespace, name: Name, wanted: wire.DownloadRequest
) -> wire.Downloads:
    """Return where the bytes of files are: ranges of objects, and signed reads of them."""
    _verify_count(wanted.files, wire.MOST_FILES_PER_CALL)
    files = [parse_object_id(text) for text in wanted.files]
    return _show(
        registry_of(request).files.downloads(
            caller_of(request), repository_name(namespace, name), files
        )
    )


def _show(plan: DownloadPlan) -> wire.Downloads:
    index = {source: number for number, source in enumerate(plan.reads)}
    files = [
        wire.FileSource(
            digest,
            sum(extent.size for _, extent in parts),
            [wire.Extent(index[source], extent.offset, extent.size) for source, extent in parts],
        )
        for digest, parts in plan.files
    ]
    reads = [
        wire.SignedRequest(read.method, read.url, dict(read.headers))
        for read in plan.reads.values()
    ]
    return wire.Downloads(files, reads)


def _join_record(manifest: ManifestId, document: bytes) -> bytes:
    return b'{"id":"' + manifest.encode("ascii") + b'","manifest":' + document + b"}"


def _verify_count(items: Sequence[str], most: int) -> None:
    if len(items) > most:
        raise InvalidInput("invalid-input", f"At most {most} of them a call, not {len(items)}.")
