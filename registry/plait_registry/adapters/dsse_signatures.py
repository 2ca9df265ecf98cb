"""Signatures of attestations, as the client makes them."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from plait_registry.domain.validations import KeyId, SignatureVerifier, SignedStatement


class DsseSignatures(SignatureVerifier):
    """DSSE envelopes with Ed25519 signatures."""

    @override
    def read_key(self, public_key: str) -> tuple[KeyId, str]:
        # It takes 0.1 s and 10 MB: only where a key is looked at.
        from plait.signing import parse_public_key

        keyid, pem = parse_public_key(public_key)
        return KeyId(keyid), pem

    @override
    def read(self, envelope: Mapping[str, object], keys: Mapping[KeyId, str]) -> SignedStatement:
        from plait.model.attestation import parse_statement
        from plait.signing import verify_envelope

        payload, keyids = verify_envelope(
            envelope, {str(keyid): pem for keyid, pem in keys.items()}
        )
        statement = parse_statement(payload)
        return SignedStatement(
            keyids=frozenset(KeyId(keyid) for keyid in keyids),
            payload=payload,
            commit=statement.commit,
            files=statement.files,
            result=statement.result.value,
            definition=statement.definition,
            base=statement.base,
            root=statement.root,
        )
