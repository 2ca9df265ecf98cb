"""Storing what validators signed about a commit, once it was looked at.

1. The envelope is small, and has one signature: each validator signs for itself.
2. The signature is that of a registered key that is neither revoked nor over.
3. The statement is about this commit, its files and the base that it names, and about no other:
   that were a replay.

Then it is stored as it came. Nobody is asked to believe the registry: whoever has the public key
checks the envelope again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.errors import Conflict, InvalidInput
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit
from plait.model.ids import CommitId, abbreviate, hash_bytes
from plait.model.manifest import Manifest
from plait_registry.domain.access import Caller, Right, verify_judges
from plait_registry.domain.attesting import is_counted
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.records import CommitRow, RepositoryRecord
from plait_registry.domain.validations import (
    AttestationRow,
    KeyId,
    SignatureVerifier,
    SignedStatement,
    ValidatorKey,
)
from plait_registry.services.access import find_repository, get_commit
from plait_registry.services.changes import record_change

LARGEST_ENVELOPE = 1_000_000
"""Bytes of canonical JSON: a statement with the digests of some thousand files."""
MOST_ATTESTATIONS = 200
"""Of one commit: all of them are looked at before a protected ref moves."""


@dataclass(frozen=True, slots=True)
class AttestationView:
    """An attestation, and whether it counts now."""

    row: AttestationRow
    counts: bool


class PublishAttestation:
    """Stores attestations."""

    def __init__(self, database: Database, clock: Clock, signatures: SignatureVerifier) -> None:
        self._database = database
        self._clock = clock
        self._signatures = signatures

    def __call__(
        self, caller: Caller, name: RepositoryName, commit: CommitId, envelope: Mapping[str, Any]
    ) -> AttestationView:
        """Return what is stored: the same envelope again is fine.

        Raises:
            NotFound: `commit-not-found`.
            Conflict: `too-many-validations`.
            InvalidInput: `attestation-invalid`; says which of the checks failed.
            PermissionDenied: `permission-denied`, also of a job's process for another commit.
        """
        verify_judges(caller, commit)
        row = self._read(caller, name, commit, envelope)

        def publish(records: Records) -> AttestationView:
            repository = find_repository(records, caller, name, Right.WRITE)
            get_commit(records, repository, commit)
            key = records.validator_keys.get(row.keyid)
            stored = records.attestations.list(repository.id, commit)
            for other in stored:
                if other.id == row.id:
                    return AttestationView(other, is_counted(other, key))
            # What was stored in time stays; something new by such a key does not come in.
            _verify_alive(key, row.recorded_at)
            _verify_room(stored, commit)
            records.attestations.insert(repository.id, row)
            change = Change.of_repository(
                Action.ATTESTATION_ADD,
                repository.name,
                commit=commit,
                keyid=row.keyid,
                result=row.result,
                definition=row.definition,
                root=row.root,
            )
            record_change(records, caller, change, at=row.recorded_at)
            return AttestationView(row, is_counted(row, key))

        return self._database.transact(publish)

    def _read(
        self, caller: Caller, name: RepositoryName, commit: CommitId, envelope: Mapping[str, Any]
    ) -> AttestationRow:
        body = _write_envelope(envelope)
        with self._database.read() as records:
            # Before a signature is computed: for strangers there is nothing to do.
            repository = find_repository(records, caller, name, Right.WRITE)
            held = get_commit(records, repository, commit)
            files = _load_files(records, repository, held)
            keys = records.validator_keys.list()
        statement = self._signatures.read(envelope, {key.keyid: key.public_key for key in keys})
        keyid = _find_signer(statement)
        _verify_subject(statement, commit, files)
        _verify_base(statement, Commit.from_bytes(held.body).base)
        return AttestationRow(
            id=hash_bytes(f"{keyid}\n".encode() + statement.payload),
            commit=commit,
            keyid=keyid,
            result=statement.result,
            definition=statement.definition,
            base=statement.base,
            root=statement.root,
            envelope=body,
            recorded_by=caller.name,
            recorded_at=self._clock.now(),
        )


class ListAttestations:
    """Shows attestations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(
        self, caller: Caller, name: RepositoryName, commit: CommitId
    ) -> Sequence[AttestationView]:
        """Return those of a commit, oldest first, those that do not count too.

        Raises:
            NotFound: `commit-not-found`.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            get_commit(records, repository, commit)
            keys = {key.keyid: key for key in records.validator_keys.list()}
            rows = records.attestations.list(repository.id, commit)
            return [AttestationView(row, is_counted(row, keys.get(row.keyid))) for row in rows]


def _write_envelope(envelope: Mapping[str, Any]) -> bytes:
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise _invalid("an envelope has one signature here: send one for each validator")
    body = canonical.dumps(dict(envelope))
    if len(body) > LARGEST_ENVELOPE:
        raise _invalid(f"an envelope has at most {LARGEST_ENVELOPE} bytes here")
    return body


def _find_signer(signed: SignedStatement) -> KeyId:
    if len(signed.keyids) != 1:
        raise _invalid("it takes the signature of one registered key")
    return next(iter(signed.keyids))


def _load_files(
    records: Records, repository: RepositoryRecord, commit: CommitRow
) -> Mapping[str, str]:
    manifest = commit.manifest
    body = records.files.load_manifests(repository.id, [manifest])[manifest]
    return {file.path: file.sha256 for file in Manifest.from_json(canonical.loads(body)).files}


def _verify_subject(statement: SignedStatement, commit: CommitId, files: Mapping[str, str]) -> None:
    if statement.commit != commit:
        raise _invalid(
            f"its statement is about {abbreviate(statement.commit)}, not about "
            f"{abbreviate(commit)}: it cannot be used for another commit"
        )
    for path, digest in sorted(statement.files.items()):
        if files.get(path) != digest:
            raise _invalid(
                f"its statement names a file {path!r:.200} that the commit does not have"
            )
    # Else it would count here, and not where somebody verifies it.
    left_out = sorted(files.keys() - statement.files.keys())
    if left_out:
        raise _invalid(f"its statement leaves out the commit's file {left_out[0]!r:.200}")


def _verify_base(statement: SignedStatement, named: Base) -> None:
    if None not in {named.fingerprint, statement.base} and statement.base != named.fingerprint:
        raise _invalid(
            f"it is of a merge into the base {abbreviate(str(statement.base))}, and the commit was "
            f"made for {abbreviate(str(named.fingerprint))}"
        )


def _verify_alive(key: ValidatorKey, now: str) -> None:
    if key.revoked_at is not None:
        raise _invalid(f"its key {abbreviate(key.keyid)} was revoked at {key.revoked_at}")
    if not key.signs_at(now):
        raise _invalid(f"its key {abbreviate(key.keyid)} ended at {key.expires_at}")


def _verify_room(stored: Sequence[AttestationRow], commit: CommitId) -> None:
    if len(stored) >= MOST_ATTESTATIONS:
        raise Conflict(
            "too-many-validations",
            f"The commit {abbreviate(commit)} has {MOST_ATTESTATIONS} attestations, and takes no "
            "more.",
            limit=MOST_ATTESTATIONS,
        )


def _invalid(reason: str) -> InvalidInput:
    return InvalidInput("attestation-invalid", f"The attestation is not taken: {reason}.")
