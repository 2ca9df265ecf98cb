"""Routes of bases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from plait.model.address import RepositoryName
from plait.model.ids import CommitId, parse_commit_id, parse_object_id
from plait.wire_bases import BasePage, BaseVersion
from plait_registry.api.errors import describe
from plait_registry.api.requests import Cursor, Limit, caller_of, registry_of
from plait_registry.domain.access import Readable
from plait_registry.domain.bases import BaseQuery, HeldBase

router = APIRouter(tags=["bases"])


class BaseFilters(BaseModel):
    """Which bases to list; all filters must match."""

    fingerprint: str | None = Field(None, description="Only with exactly these weights.")
    name: str | None = Field(None, description="Only of this model, as `org/model`.")
    cursor: Cursor = None
    limit: Limit = 50


@router.get("/bases", responses=describe())
def list_bases(request: Request, filters: Annotated[BaseFilters, Query()]) -> BasePage:
    """List the versions of bases that match all of the filters, by repository and commit."""
    fingerprint = filters.fingerprint
    found = registry_of(request).list_bases(
        BaseQuery(
            readable=Readable.by(caller_of(request)),
            fingerprint=None if fingerprint is None else parse_object_id(fingerprint),
            name=filters.name,
            after=None if filters.cursor is None else _parse_cursor(filters.cursor),
            # One more than is shown tells whether there is another page.
            limit=filters.limit + 1,
        )
    )
    shown = list(found[: filters.limit])
    following = (
        f"{shown[-1].repository}@{shown[-1].row.commit}" if len(found) > len(shown) else None
    )
    return BasePage([_show(item) for item in shown], following)


def _parse_cursor(cursor: str) -> tuple[str, CommitId]:
    repository, _, commit = cursor.partition("@")
    return RepositoryName.parse(repository).key, parse_commit_id(commit)


def _show(item: HeldBase) -> BaseVersion:
    return BaseVersion(
        repository=str(item.repository),
        commit=item.row.commit,
        name=item.row.name,
        revision=item.row.revision,
        fingerprint=item.row.fingerprint,
        time=item.time,
        generation=item.generation,
    )
