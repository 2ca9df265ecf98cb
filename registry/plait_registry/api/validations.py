"""Routes of what validators saw of a commit: expected digests, validations, attestations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from plait import wire_validation
from plait.errors import Conflict, NotFound, PermissionDenied
from plait.model import canonical
from plait.model.ids import parse_commit_id, parse_object_id
from plait.model.merge_digests import MergeDigests
from plait.model.validation import BaseWeights, Validation
from plait_registry.api.errors import describe
from plait_registry.api.requests import (
    Cursor,
    Limit,
    Name,
    Namespace,
    caller_of,
    parse_choice,
    registry_of,
    repository_name,
)
from plait_registry.domain.validations import (
    ExpectedRow,
    ExpectedSource,
    ValidationRow,
    parse_page_cursor,
    read_body,
    write_page_cursor,
)
from plait_registry.services.publish_attestation import AttestationView
from plait_registry.services.store_expected import ExpectedWish

router = APIRouter(prefix="/repositories/{namespace}/{name}/commits/{commit}", tags=["validations"])

Commit = Annotated[str, Path(description="A full commit id.")]


class ExpectedFilters(BaseModel):
    """Which expected digests to show."""

    definition: str | None = Field(None, description="Of the merge, as merge-fp64-v1.")
    base: str | None = Field(None, description="The fingerprint of a base.")


class ValidationFilters(BaseModel):
    """Which validations to show."""

    cursor: Cursor = None
    limit: Limit = 50


@router.put("/expected-digests", responses=describe(NotFound, PermissionDenied, Conflict))
def store_expected_digests(
    request: Request,
    namespace: Namespace,
    name: Name,
    commit: Commit,
    wanted: wire_validation.NewExpectedDigests,
) -> wire_validation.ExpectedDigests:
    """Say what a merge of the commit gives. The first digests stay; the same again are fine."""
    wish = ExpectedWish(
        commit=parse_commit_id(commit),
        digests=MergeDigests.from_json(wanted.digests),
        base=parse_object_id(wanted.base),
        base_weights=parse_choice(BaseWeights, wanted.base_weights, "base_weights"),
        source=parse_choice(ExpectedSource, wanted.source, "source"),
    )
    stored = registry_of(request).validations.store_expected(
        caller_of(request), repository_name(namespace, name), wish
    )
    return _show_expected(stored)


@router.get("/expected-digests", responses=describe(NotFound))
def list_expected_digests(
    request: Request,
    namespace: Namespace,
    name: Name,
    commit: Commit,
    filters: Annotated[ExpectedFilters, Query()],
) -> wire_validation.ExpectedDigestsList:
    """List what merges of the commit shall give, oldest first."""
    found = registry_of(request).validations.list_expected(
        caller_of(request), repository_name(namespace, name), parse_commit_id(commit)
    )
    shown = [
        _show_expected(row)
        for row in found
        if filters.definition in {None, row.digests.definition} and filters.base in {None, row.base}
    ]
    return wire_validation.ExpectedDigestsList(shown)


@router.post(
    "/validations", status_code=201, responses=describe(NotFound, PermissionDenied, Conflict)
)
def record_validation(
    request: Request,
    namespace: Namespace,
    name: Name,
    commit: Commit,
    sent: wire_validation.NewValidation,
) -> wire_validation.ValidationRecord:
    """Record what a validator saw. A job has one validation: a second one gets the first back."""
    stored = registry_of(request).validations.record(
        caller_of(request),
        repository_name(namespace, name),
        parse_commit_id(commit),
        Validation.from_json(sent.validation),
    )
    return _show_validation(stored)


@router.get("/validations", responses=describe(NotFound))
def list_validations(
    request: Request,
    namespace: Namespace,
    name: Name,
    commit: Commit,
    filters: Annotated[ValidationFilters, Query()],
) -> wire_validation.ValidationPage:
    """List what validators saw, newest first."""
    found = registry_of(request).validations.list(
        caller_of(request),
        repository_name(namespace, name),
        parse_commit_id(commit),
        before=None if filters.cursor is None else parse_page_cursor(filters.cursor),
        # One more than is shown tells whether there is another page.
        limit=filters.limit + 1,
    )
    shown = list(found[: filters.limit])
    following = write_page_cursor(shown[-1]) if len(found) > len(shown) else None
    return wire_validation.ValidationPage([_show_validation(row) for row in shown], following)


@router.post(
    "/attestations", status_code=201, responses=describe(NotFound, PermissionDenied, Conflict)
)
def publish_attestation(
    request: Request,
    namespace: Namespace,
    name: Name,
    commit: Commit,
    sent: wire_validation.NewAttestation,
) -> wire_validation.Attestation:
    """Store a signed statement, once its signature, its key and its subject were looked at."""
    stored = registry_of(request).validations.publish_attestation(
        caller_of(request),
        repository_name(namespace, name),
        parse_commit_id(commit),
        sent.envelope,
    )
    return _show_attestation(stored)


@router.get("/attestations", responses=describe(NotFound))
def list_attestations(
    request: Request, namespace: Namespace, name: Name, commit: Commit
) -> wire_validation.AttestationList:
    """List signed statements, oldest first, those too whose keys were revoked since."""
    found = registry_of(request).validations.list_attestations(
        caller_of(request), repository_name(namespace, name), parse_commit_id(commit)
    )
    return wire_validation.AttestationList([_show_attestation(view) for view in found])


def _show_expected(row: ExpectedRow) -> wire_validation.ExpectedDigests:
    return wire_validation.ExpectedDigests(
        digests=row.digests.to_json(),
        base=row.base,
        base_weights=row.base_weights.value,
        source=row.source.value,
        stored_by=row.stored_by,
        stored_at=row.stored_at,
    )


def _show_validation(row: ValidationRow) -> wire_validation.ValidationRecord:
    return wire_validation.ValidationRecord(
        id=row.id,
        validation=read_body(row),
        job=row.job,
        recorded_by=row.recorded_by,
        recorded_at=row.recorded_at,
    )


def _show_attestation(view: AttestationView) -> wire_validation.Attestation:
    row = view.row
    return wire_validation.Attestation(
        id=row.id,
        envelope=canonical.loads(row.envelope),
        keyid=row.keyid,
        result=row.result,
        definition=row.definition,
        root=row.root,
        recorded_by=row.recorded_by,
        recorded_at=row.recorded_at,
        counts=view.counts,
    )
