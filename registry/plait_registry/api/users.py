"""Routes of users, and of who the caller is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from plait import wire_accounts
from plait.errors import AlreadyExists, NotFound, PermissionDenied
from plait_registry.api.errors import describe
from plait_registry.api.requests import caller_of, registry_of
from plait_registry.api.tokens import show_token
from plait_registry.domain.access import Right
from plait_registry.domain.accounts import UserRecord
from plait_registry.services.tokens import OwnedToken

router = APIRouter(tags=["users"])


@router.get("/user", responses=describe())
def get_identity(request: Request) -> wire_accounts.Identity:
    """Return who the caller is, by the token that it sent."""
    identity = registry_of(request).accounts.identify(caller_of(request))
    caller, token = identity.caller, identity.token
    return wire_accounts.Identity(
        name=caller.name,
        admin=caller.is_admin,
        # A token with scopes need not tell who finds it where else its user is known.
        roles={
            key: role.value
            for key, role in sorted(caller.roles.items())
            if caller.right_in(key) >= Right.READ
        },
        token=None if token is None else show_token(OwnedToken(token, caller.name)),
    )


@router.get("/users", responses=describe(PermissionDenied))
def list_users(request: Request) -> wire_accounts.UserList:
    """List all users; for administrators."""
    found = registry_of(request).accounts.list_users(caller_of(request))
    return wire_accounts.UserList([_show(user) for user in found])


@router.post("/users", status_code=201, responses=describe(AlreadyExists, PermissionDenied))
def create_user(request: Request, wanted: wire_accounts.NewUser) -> wire_accounts.User:
    """Make a user and a namespace of the same name; for administrators."""
    return _show(
        registry_of(request).accounts.create_user(
            caller_of(request), wanted.name, is_admin=wanted.admin
        )
    )


@router.patch("/users/{user}", responses=describe(NotFound, PermissionDenied))
def update_user(
    request: Request,
    user: Annotated[str, Path(description="The user's name.")],
    wanted: wire_accounts.UserUpdate,
) -> wire_accounts.User:
    """Disable or enable a user, or make one an administrator; for administrators."""
    return _show(
        registry_of(request).accounts.update_user(
            caller_of(request), user, is_admin=wanted.admin, disabled=wanted.disabled
        )
    )


def _show(user: UserRecord) -> wire_accounts.User:
    return wire_accounts.User(user.name, user.is_admin, user.created_at, user.disabled_at)
