"""Registering, listing and revoking the public keys of validators: a task of administrators.

A key counts in all repositories, so that no repository's maintainer can make validators of their
own. Keys are never deleted: what they signed stays attributable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait.errors import InvalidInput
from plait_registry.domain.access import Caller, verify_administers
from plait_registry.domain.change import Action, Change
from plait_registry.domain.expiry import parse_expiry
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.validations import KeyId, KeyRole, SignatureVerifier, ValidatorKey
from plait_registry.services.changes import record_change

MOST_KEYS = 1_000
"""The list of keys has no pages."""
LONGEST_NAME = 200
LONGEST_PEM = 10_000


@dataclass(frozen=True, slots=True)
class KeyWish:
    """A key that shall be registered."""

    public_key: str
    """PEM."""
    name: str
    role: KeyRole
    expires: str
    """As `plait_registry.domain.expiry` reads it."""


class RegisterKey:
    """Registers keys."""

    def __init__(self, database: Database, clock: Clock, signatures: SignatureVerifier) -> None:
        self._database = database
        self._clock = clock
        self._signatures = signatures

    def __call__(self, caller: Caller, wish: KeyWish) -> ValidatorKey:
        """Return the registered key.

        Raises:
            AlreadyExists: `validator-key-exists`.
            InvalidInput: it is no Ed25519 key, its name is none, or its end is none.
            PermissionDenied: `permission-denied`.
        """
        verify_administers(caller)
        name, now = wish.name.strip(), self._clock.now()
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise InvalidInput(
                "invalid-input",
                f"name: say whose key it is, in at most {LONGEST_NAME} printable characters.",
                field="name",
            )
        text = wish.public_key.replace("\r\n", "\n")
        if len(text) > LONGEST_PEM or not text.replace("\n", "").isprintable():
            raise InvalidInput(
                "attestation-invalid",
                f"A public key is PEM, in at most {LONGEST_PEM} printable characters.",
            )
        # All may see a key, and a private one may stand beside it in the text.
        keyid, public_key = self._signatures.read_key(text)
        key = ValidatorKey(
            keyid=keyid,
            public_key=public_key,
            name=name,
            role=wish.role,
            created_at=now,
            expires_at=parse_expiry(wish.expires, now),
        )

        def register(records: Records) -> ValidatorKey:
            if len(records.validator_keys.list()) >= MOST_KEYS:
                raise InvalidInput(
                    "invalid-input", f"There are {MOST_KEYS} keys, and there may not be more."
                )
            records.validator_keys.insert(key)
            facts = {"name": name, "role": key.role.value, "expires_at": key.expires_at}
            change = Change(Action.VALIDATOR_KEY_REGISTER, key.keyid, None, facts)
            record_change(records, caller, change, at=now)
            return key

        return self._database.transact(register)


class ListKeys:
    """Lists keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self) -> Sequence[ValidatorKey]:
        """Return all keys, oldest first, to whoever has a token: attestations name them."""
        with self._database.read() as records:
            return records.validator_keys.list()


class RevokeKey:
    """Revokes keys."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, keyid: KeyId) -> ValidatorKey:
        """Return the revoked key; from now on nothing that it ever signed counts.

        Raises:
            NotFound: `validator-key-not-found`.
            PermissionDenied: `permission-denied`.
        """
        verify_administers(caller)
        now = self._clock.now()

        def revoke(records: Records) -> ValidatorKey:
            if records.validator_keys.get(keyid).revoked_at is None:
                records.validator_keys.revoke(keyid, now)
                change = Change(Action.VALIDATOR_KEY_REVOKE, keyid, None)
                record_change(records, caller, change, at=now)
            return records.validator_keys.get(keyid)

        return self._database.transact(revoke)
