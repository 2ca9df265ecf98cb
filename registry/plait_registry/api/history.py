"""Routes of commits: revisions, the log, single commits, merge bases, differences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from plait import wire
from plait.errors import NotFound
from plait.model.ids import parse_commit_id
from plait.model.refs import HEAD
from plait_registry.api.errors import describe
from plait_registry.api.notes import show_note
from plait_registry.api.requests import (
    Cursor,
    Limit,
    Name,
    Namespace,
    caller_of,
    registry_of,
    repository_name,
)
from plait_registry.domain.records import CommitRow, NoteRow
from plait_registry.services.history import LogQuery

router = APIRouter(prefix="/repositories/{namespace}/{name}", tags=["history"])

_REVISION = "A branch, a tag, a commit id or its beginning; `~N` and `^N` go back."

Revision = Annotated[str, Query(description=_REVISION)]


@router.get("/resolve", responses=describe(NotFound))
def resolve_revision(
    request: Request, namespace: Namespace, name: Name, revision: Revision = HEAD
) -> wire.Resolved:
    """Return the commit that a revision names, and its manifest."""
    row = registry_of(request).history.resolve(
        caller_of(request), repository_name(namespace, name), revision
    )
    return wire.Resolved(row.id, row.manifest)


class LogRange(BaseModel):
    """Which part of the log to list."""

    revision: str = Field(HEAD, description=_REVISION)
    exclude: list[str] = Field(
        default_factory=list, description="Leave out these commit ids and their ancestors."
    )
    cursor: Cursor = None
    limit: Limit = 50


@router.get("/commits", responses=describe(NotFound))
def list_commits(
    request: Request, namespace: Namespace, name: Name, wanted: Annotated[LogRange, Query()]
) -> wire.CommitPage:
    """List a revision and its ancestors: every commit before its parents, newest first."""
    page = registry_of(request).history.log(
        caller_of(request),
        repository_name(namespace, name),
        LogQuery(wanted.revision, tuple(wanted.exclude), wanted.limit, wanted.cursor),
    )
    commits = [_show(row, page.notes.get(row.id, ())) for row in page.commits]
    return wire.CommitPage(commits, page.next)


@router.get("/commits/{commit}", responses=describe(NotFound))
def get_commit(
    request: Request,
    namespace: Namespace,
    name: Name,
    commit: Annotated[str, Path(description="A full commit id.")],
) -> wire.CommitRecord:
    """Return one commit and its notes."""
    row, notes = registry_of(request).history.commit(
        caller_of(request), repository_name(namespace, name), parse_commit_id(commit)
    )
    return _show(row, notes)


@router.get("/merge-base", responses=describe(NotFound))
def find_merge_bases(
    request: Request, namespace: Namespace, name: Name, left: Revision, right: Revision
) -> wire.MergeBases:
    """Return the best common ancestors of two revisions."""
    bases = registry_of(request).history.merge_bases(
        caller_of(request), repository_name(namespace, name), left, right
    )
    return wire.MergeBases(list(bases))


@router.get("/diff", responses=describe(NotFound))
def diff_versions(
    request: Request, namespace: Namespace, name: Name, old: Revision, new: Revision = HEAD
) -> wire.VersionDiff:
    """Compare two revisions: the adapter's config, files, and the tensors inside them."""
    found = registry_of(request).diff(
        caller_of(request), repository_name(namespace, name), old, new
    )
    return wire.VersionDiff(
        found.old,
        found.new,
        [change.to_json() for change in found.config],
        found.manifest.to_json(),
    )


def _show(row: CommitRow, notes: Sequence[NoteRow]) -> wire.CommitRecord:
    return wire.CommitRecord(
        id=row.id,
        commit=json.loads(row.body),
        generation=row.generation,
        adapter_type=row.adapter_type,
        size=row.size,
        notes=[show_note(note) for note in notes],
    )
