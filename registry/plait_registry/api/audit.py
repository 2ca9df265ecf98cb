"""The route of the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from plait import wire_accounts
from plait.errors import InvalidInput, NotFound, PermissionDenied
from plait_registry.api.errors import describe
from plait_registry.api.requests import Cursor, Limit, caller_of, registry_of
from plait_registry.domain.accounts import AuditQuery, AuditRow

router = APIRouter(tags=["audit"])

LARGEST_ID = 2**63 - 1


class AuditFilters(BaseModel):
    """Which rows to list; all filters must match."""

    namespace: str | None = Field(None, description="Only of this namespace.")
    subject: str | None = Field(None, description="Only about this, as `team/sql`, exactly.")
    actor: str | None = Field(None, description="Only what this user did.")
    cursor: Cursor = None
    limit: Limit = 50


@router.get("/audit", responses=describe(NotFound, PermissionDenied))
def search_audit(
    request: Request, filters: Annotated[AuditFilters, Query()]
) -> wire_accounts.AuditPage:
    """List changes, newest first: of the namespaces that the caller owns; for administrators all.

    A namespace that is named must be one that the caller owns.
    """
    query = AuditQuery(
        subject=filters.subject,
        actor=filters.actor,
        before=None if filters.cursor is None else _parse_cursor(filters.cursor),
        # One more than is shown tells whether there is another page.
        limit=filters.limit + 1,
    )
    found = registry_of(request).accounts.search_audit(
        caller_of(request), query, namespace=filters.namespace
    )
    shown = list(found[: filters.limit])
    following = str(shown[-1].id) if len(found) > len(shown) else None
    return wire_accounts.AuditPage([_show(row) for row in shown], following)


def _parse_cursor(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= LARGEST_ID:
        return int(text)
    raise InvalidInput("invalid-input", "cursor: send the `next` of the page before.")


def _show(row: AuditRow) -> wire_accounts.AuditRow:
    return wire_accounts.AuditRow(
        id=row.id,
        at=row.at,
        actor=row.actor,
        token=row.token,
        action=row.action,
        subject=row.subject,
        namespace=row.namespace,
        details=dict(row.details),
    )
