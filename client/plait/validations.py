"""What a registry knows of validated commits: expected digests, validations, attestations, keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from plait import wire
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId
from plait.model.merge_digests import MergeDigests
from plait.model.validation import Validation
from plait.paging import read_pages
from plait.transport import Transport, repository_path
from plait.wire_validation import (
    Attestation,
    AttestationList,
    ExpectedDigests,
    ExpectedDigestsList,
    NewAttestation,
    NewExpectedDigests,
    NewValidation,
    NewValidatorKey,
    ValidationPage,
    ValidationRecord,
    ValidatorKey,
    ValidatorKeyList,
)

_KEYS = f"{wire.API_PREFIX}/validator-keys"


def fetch_expected(
    transport: Transport,
    repository: RepositoryName,
    commit: CommitId,
    *,
    definition: str | None = None,
    base: ObjectId | None = None,
) -> list[ExpectedDigests]:
    """Return the stored digests of a commit, oldest first; of one definition and base if named."""
    query = {"definition": definition, "base": base}
    answer = transport.call("GET", _path(repository, commit, "expected-digests"), query=query)
    return wire.decode(ExpectedDigestsList, answer).expected


def store_expected(
    transport: Transport,
    repository: RepositoryName,
    commit: CommitId,
    wanted: NewExpectedDigests,
) -> ExpectedDigests:
    """Store what a merge of a commit shall give; the same again is fine.

    Raises:
        Conflict: `expected-digests-differ`, others are stored already, and those stay.
    """
    path = _path(repository, commit, "expected-digests")
    return wire.decode(ExpectedDigests, transport.call("PUT", path, body=wire.encode(wanted)))


def digests_of(expected: ExpectedDigests) -> MergeDigests:
    """Return the digests that are stored.

    Raises:
        InvalidInput: `invalid-input`, the registry answered with what are none.
    """
    return MergeDigests.from_json(expected.digests)


def fetch_validations(
    transport: Transport, repository: RepositoryName, commit: CommitId
) -> Iterator[ValidationRecord]:
    """Yield the validations of a commit, newest first."""

    def ask(cursor: str | None) -> ValidationPage:
        path = _path(repository, commit, "validations")
        return wire.decode(ValidationPage, transport.call("GET", path, query={"cursor": cursor}))

    for page in read_pages(ask):
        yield from page.validations


def publish_validation(
    transport: Transport, repository: RepositoryName, validation: Validation
) -> ValidationRecord:
    """Record a validation; by the token of a job, the first one of that job stays."""
    path = _path(repository, validation.commit, "validations")
    body = wire.encode(NewValidation(validation.to_json()))
    return wire.decode(ValidationRecord, transport.call("POST", path, body=body, repeatable=True))


def fetch_attestations(
    transport: Transport, repository: RepositoryName, commit: CommitId
) -> list[Attestation]:
    """Return the attestations of a commit, oldest first."""
    answer = transport.call("GET", _path(repository, commit, "attestations"))
    return wire.decode(AttestationList, answer).attestations


def publish_attestation(
    transport: Transport,
    repository: RepositoryName,
    commit: CommitId,
    envelope: Mapping[str, Any],
) -> Attestation:
    """Store a signed statement; the same one again is fine.

    Raises:
        InvalidInput: `attestation-invalid`, by a key that the registry does not know, or about
            something else.
    """
    path = _path(repository, commit, "attestations")
    body = wire.encode(NewAttestation(dict(envelope)))
    return wire.decode(Attestation, transport.call("POST", path, body=body, repeatable=True))


def fetch_keys(transport: Transport) -> list[ValidatorKey]:
    """Return the keys of all validators and publishers, oldest first; ended ones, too."""
    return wire.decode(ValidatorKeyList, transport.call("GET", _KEYS)).keys


def register_key(transport: Transport, wanted: NewValidatorKey) -> ValidatorKey:
    """Make a public key known; for administrators.

    Raises:
        AlreadyExists: `validator-key-exists`.
        InvalidInput: `attestation-invalid`, it is no Ed25519 public key.
    """
    return wire.decode(ValidatorKey, transport.call("POST", _KEYS, body=wire.encode(wanted)))


def revoke_key(transport: Transport, keyid: str) -> ValidatorKey:
    """Let nothing count any more that a key signed, whenever that was; for administrators.

    Raises:
        NotFound: `validator-key-not-found`.
    """
    path = f"{_KEYS}/{quote(keyid, safe='')}/revoke"
    return wire.decode(ValidatorKey, transport.call("POST", path, repeatable=True))


def _path(repository: RepositoryName, commit: CommitId, tail: str) -> str:
    return repository_path(repository, f"/commits/{commit}/{tail}")
