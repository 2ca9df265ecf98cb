"""The HTTP API's shapes of validations, expected digests, attestations and validators' keys.

Documents whose bytes matter travel as their JSON: digests as `plait.model.merge_digests` writes
them, validations as `plait.model.validation`, envelopes as DSSE says. See `plait.wire`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plait.wire import about


@dataclass(frozen=True, slots=True)
class NewExpectedDigests:
    """The digests that a merge of a commit shall have; the first that are stored stay."""

    digests: dict[str, Any] = about('`{"definition", "root", "tensors": {name: sha256}}`.')
    base: str = about("The fingerprint of the base that they hold for.")
    base_weights: str = about("`original` or `dequantised`.", default="original")
    source: str = about(
        "`publisher`: computed by who pushed; `validation`: what the first validation saw.",
        default="publisher",
    )


@dataclass(frozen=True, slots=True)
class ExpectedDigests:
    """The stored digests of a commit, by one definition and into one base."""

    digests: dict[str, Any] = about('`{"definition", "root", "tensors": {name: sha256}}`.')
    base: str = about("The fingerprint of the base that they hold for.")
    base_weights: str = about("`original` or `dequantised`.")
    source: str = about("`publisher` or `validation`.")
    stored_by: str = about("Who stored them.")
    stored_at: str = about("UTC.")


@dataclass(frozen=True, slots=True)
class ExpectedDigestsList:
    """The stored digests of a commit."""

    expected: list[ExpectedDigests] = about("Oldest first: one for each definition and base.")


@dataclass(frozen=True, slots=True)
class NewValidation:
    """A validation to record; a second one by the same job is answered with the first."""

    validation: dict[str, Any] = about("The document (format plait.validation/1).")


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """A recorded validation."""

    id: str = about("sha256 of the document's canonical JSON.")
    validation: dict[str, Any] = about("The document (format plait.validation/1).")
    job: str | None = about("The job that it came from; null: somebody sent it by themselves.")
    recorded_by: str = about("Who sent it.")
    recorded_at: str = about("UTC.")


@dataclass(frozen=True, slots=True)
class ValidationPage:
    """Some validations of a commit."""

    validations: list[ValidationRecord] = about("Newest first.")
    next: str | None = about("Send this as `cursor` for the next page; null on the last.")


@dataclass(frozen=True, slots=True)
class NewAttestation:
    """A signed statement to store."""

    envelope: dict[str, Any] = about("DSSE: `{payload, payloadType, signatures}`.")


@dataclass(frozen=True, slots=True)
class Attestation:
    """A signed statement whose signature, key and subject the registry checked when it came."""

    id: str = about("sha256 of the line with the key's id, and the payload: who says what.")
    envelope: dict[str, Any] = about("DSSE: `{payload, payloadType, signatures}`.")
    keyid: str = about("The validator's key that signed it.")
    result: str = about("`PASSED`, `WARNED` or `FAILED`.")
    definition: str = about("Of the merge, as `merge-fp64-v1`.")
    root: str | None = about("The merged root; null where nothing was merged.")
    recorded_by: str = about("Who sent it.")
    recorded_at: str = about("UTC.")
    counts: bool = about(
        "Whether it counts towards what protected refs demand: it passed, and its key is a "
        "validator's, is not revoked, and had not ended when it came."
    )


@dataclass(frozen=True, slots=True)
class AttestationList:
    """The attestations of a commit."""

    attestations: list[Attestation] = about("Oldest first.")


@dataclass(frozen=True, slots=True)
class NewValidatorKey:
    """A public key to register."""

    public_key: str = about("PEM of an Ed25519 public key (SubjectPublicKeyInfo).")
    name: str = about("Whose it is, for people.")
    role: str = about(
        "`validator`: its attestations count; `publisher`: they only inform.", default="validator"
    )
    expires: str = about("As `90d`, `2027-01-31`, a time in UTC, or `never`.", default="never")


@dataclass(frozen=True, slots=True)
class ValidatorKey:
    """A registered public key."""

    keyid: str = about("As securesystemslib computes it.")
    public_key: str = about("PEM of an Ed25519 public key.")
    name: str = about("Whose it is, for people.")
    role: str = about("`validator` or `publisher`.")
    created_at: str = about("UTC.")
    expires_at: str | None = about("UTC; null: never.")
    revoked_at: str | None = about("UTC; null: it is not revoked.")


@dataclass(frozen=True, slots=True)
class ValidatorKeyList:
    """All registered keys."""

    keys: list[ValidatorKey] = about("Oldest first; revoked and expired ones, too.")
