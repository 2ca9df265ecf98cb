"""Routes of the public keys of validators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from plait import wire_validation
from plait.errors import AlreadyExists, NotFound, PermissionDenied
from plait_registry.api.errors import describe
from plait_registry.api.requests import caller_of, parse_choice, registry_of
from plait_registry.domain.validations import KeyId, KeyRole, ValidatorKey
from plait_registry.services.validator_keys import KeyWish

router = APIRouter(prefix="/validator-keys", tags=["validator keys"])

Id = Annotated[str, Path(description="What securesystemslib calls the key by.")]


@router.get("", responses=describe())
def list_validator_keys(request: Request) -> wire_validation.ValidatorKeyList:
    """List all keys, oldest first: whoever checks attestations needs them."""
    found = registry_of(request).validations.list_keys()
    return wire_validation.ValidatorKeyList([_show(key) for key in found])


@router.post("", status_code=201, responses=describe(PermissionDenied, AlreadyExists))
def register_validator_key(
    request: Request, wanted: wire_validation.NewValidatorKey
) -> wire_validation.ValidatorKey:
    """Register a public key; for administrators."""
    role = parse_choice(KeyRole, wanted.role, "role")
    wish = KeyWish(wanted.public_key, wanted.name, role, wanted.expires)
    return _show(registry_of(request).validations.register_key(caller_of(request), wish))


@router.post("/{keyid}/revoke", responses=describe(NotFound, PermissionDenied))
def revoke_validator_key(request: Request, keyid: Id) -> wire_validation.ValidatorKey:
    """Revoke a key, and with it all that it ever signed; for administrators."""
    return _show(registry_of(request).validations.revoke_key(caller_of(request), KeyId(keyid)))


def _show(key: ValidatorKey) -> wire_validation.ValidatorKey:
    return wire_validation.ValidatorKey(
        keyid=key.keyid,
        public_key=key.public_key,
        name=key.name,
        role=key.role.value,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )
