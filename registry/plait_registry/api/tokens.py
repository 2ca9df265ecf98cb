"""Routes of tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from plait import wire_accounts
from plait.errors import NotFound, PermissionDenied
from plait_registry.api.errors import describe
from plait_registry.api.requests import caller_of, registry_of
from plait_registry.domain.access import Scope
from plait_registry.services.tokens import OwnedToken, TokenWish

router = APIRouter(tags=["tokens"])


@router.get("/tokens", responses=describe(NotFound, PermissionDenied))
def list_tokens(
    request: Request,
    user: Annotated[
        str | None, Query(description="Whose; without it the caller's own. For administrators.")
    ] = None,
) -> wire_accounts.TokenList:
    """List a user's tokens, without their secrets; a token with scopes sees itself alone."""
    found = registry_of(request).accounts.list_tokens(caller_of(request), user)
    return wire_accounts.TokenList([show_token(owned) for owned in found])


@router.post("/tokens", status_code=201, responses=describe(NotFound, PermissionDenied))
def create_token(request: Request, wanted: wire_accounts.NewToken) -> wire_accounts.CreatedToken:
    """Make a token; its secret is in this answer and in none after it."""
    scopes = None if wanted.scopes is None else _parse_scopes(wanted.scopes)
    wish = TokenWish(wanted.label, scopes, wanted.expires, wanted.user)
    made = registry_of(request).accounts.create_token(caller_of(request), wish)
    return wire_accounts.CreatedToken(show_token(made.owned), made.secret)


@router.delete("/tokens/{token}", status_code=204, responses=describe(NotFound))
def revoke_token(
    request: Request, token: Annotated[str, Path(description="The token's id.")]
) -> None:
    """Make a token useless at once: the caller's own, or for administrators anybody's."""
    registry_of(request).accounts.revoke_token(caller_of(request), token)


def show_token(owned: OwnedToken) -> wire_accounts.Token:
    """Return a token as the API shows it."""
    token = owned.token
    return wire_accounts.Token(
        id=token.id,
        user=owned.user,
        label=token.label,
        scopes=None if token.scopes is None else [str(scope) for scope in token.scopes],
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        last_used_on=token.last_used_on,
    )


def _parse_scopes(texts: list[str]) -> tuple[Scope, ...]:
    # Each once, in the order in which they were given.
    return tuple(dict.fromkeys(Scope.parse(text) for text in texts))
