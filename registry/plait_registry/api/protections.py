"""Routes of the rules for a repository's refs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from plait import wire_accounts
from plait.errors import NotFound, PermissionDenied
from plait_registry.api.errors import describe
from plait_registry.api.requests import (
    Name,
    Namespace,
    caller_of,
    parse_role,
    registry_of,
    repository_name,
)
from plait_registry.domain.accounts import Protection

router = APIRouter(prefix="/repositories/{namespace}/{name}/protections", tags=["protections"])


@router.get("", responses=describe(NotFound))
def list_protections(
    request: Request, namespace: Namespace, name: Name
) -> wire_accounts.ProtectionList:
    """List the rules, all of which hold; a push looks at those that match its ref."""
    found = registry_of(request).accounts.list_protections(
        caller_of(request), repository_name(namespace, name)
    )
    return wire_accounts.ProtectionList([_show(rule) for rule in found])


@router.put("", responses=describe(NotFound, PermissionDenied))
def set_protection(
    request: Request, namespace: Namespace, name: Name, wanted: wire_accounts.Protection
) -> wire_accounts.Protection:
    """Make a rule, or replace the one of the same pattern; for maintainers."""
    rule = Protection(
        wanted.pattern, parse_role(wanted.role), wanted.fast_forward_only, wanted.attestations
    )
    return _show(
        registry_of(request).accounts.set_protection(
            caller_of(request), repository_name(namespace, name), rule
        )
    )


@router.delete("", status_code=204, responses=describe(NotFound, PermissionDenied))
def delete_protection(
    request: Request,
    namespace: Namespace,
    name: Name,
    pattern: Annotated[str, Query(description="The rule's pattern, exactly.")],
) -> None:
    """Lift a rule; for maintainers, and for the role that the rule demands."""
    registry_of(request).accounts.delete_protection(
        caller_of(request), repository_name(namespace, name), pattern
    )


def _show(rule: Protection) -> wire_accounts.Protection:
    return wire_accounts.Protection(
        rule.pattern, rule.role.value, rule.fast_forward_only, rule.attestations
    )
