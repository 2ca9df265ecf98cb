"""Routes of namespaces and their members."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from plait import wire_accounts
from plait.errors import AlreadyExists, Conflict, NotFound, PermissionDenied
from plait_registry.api.errors import describe
from plait_registry.api.requests import caller_of, parse_role, registry_of
from plait_registry.domain.access import Caller
from plait_registry.domain.accounts import NamespaceRecord
from plait_registry.services.namespaces import NamespaceWish

router = APIRouter(prefix="/namespaces", tags=["namespaces"])

Namespace = Annotated[str, Path(description="The namespace's name.")]
User = Annotated[str, Path(description="The user's name.")]


@router.get("", responses=describe())
def list_namespaces(request: Request) -> wire_accounts.NamespaceList:
    """List the namespaces in which the caller has a role; for administrators, all."""
    caller = caller_of(request)
    found = registry_of(request).accounts.list_namespaces(caller)
    return wire_accounts.NamespaceList([_show(record, caller) for record in found])


@router.post("", status_code=201, responses=describe(NotFound, AlreadyExists, PermissionDenied))
def create_namespace(
    request: Request, wanted: wire_accounts.NewNamespace
) -> wire_accounts.Namespace:
    """Make an organisation; for administrators."""
    caller = caller_of(request)
    made = registry_of(request).accounts.create_namespace(caller, wanted.name, owner=wanted.owner)
    return _show(made, caller)


@router.get("/{namespace}", responses=describe(NotFound))
def get_namespace(request: Request, namespace: Namespace) -> wire_accounts.NamespaceDetails:
    """Return one namespace with its members, to whoever has a role there."""
    caller = caller_of(request)
    found = registry_of(request).accounts.get_namespace(caller, namespace)
    members = [wire_accounts.Member(member.user, member.role.value) for member in found.members]
    return wire_accounts.NamespaceDetails(_show(found.record, caller), members)


@router.patch("/{namespace}", responses=describe(NotFound, PermissionDenied))
def update_namespace(
    request: Request, namespace: Namespace, wanted: wire_accounts.NamespaceUpdate
) -> wire_accounts.Namespace:
    """Change a namespace's quota (for administrators) or retention (for owners)."""
    caller = caller_of(request)
    wish = NamespaceWish(wanted.quota_bytes, wanted.keep_untagged_days)
    return _show(registry_of(request).accounts.update_namespace(caller, namespace, wish), caller)


@router.delete(
    "/{namespace}", status_code=204, responses=describe(NotFound, PermissionDenied, Conflict)
)
def delete_namespace(request: Request, namespace: Namespace) -> None:
    """Delete an organisation that holds no repository; for its owners."""
    registry_of(request).accounts.delete_namespace(caller_of(request), namespace)


@router.put(
    "/{namespace}/members/{user}",
    status_code=204,
    responses=describe(NotFound, PermissionDenied, Conflict),
)
def set_member(
    request: Request, namespace: Namespace, user: User, wanted: wire_accounts.MemberRole
) -> None:
    """Give a user a role, whether or not there was one before; for owners."""
    registry_of(request).accounts.set_member(
        caller_of(request), namespace, user, parse_role(wanted.role)
    )


@router.delete(
    "/{namespace}/members/{user}",
    status_code=204,
    responses=describe(NotFound, PermissionDenied, Conflict),
)
def remove_member(request: Request, namespace: Namespace, user: User) -> None:
    """Take a user's role away; for owners."""
    registry_of(request).accounts.set_member(caller_of(request), namespace, user, None)


def _show(record: NamespaceRecord, caller: Caller) -> wire_accounts.Namespace:
    role = caller.roles.get(record.key)
    return wire_accounts.Namespace(
        name=record.name,
        created_at=record.created_at,
        quota_bytes=record.quota_bytes,
        keep_untagged_days=record.keep_untagged_days,
        role=None if role is None else role.value,
    )
