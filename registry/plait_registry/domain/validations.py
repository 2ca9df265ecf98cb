"""Expected digests, validations, attestations and validators' keys: their values and tables.

- All but the keys hang on a commit of a repository, and go with it.
- An attestation was looked at when it came: its signature, its key and what it is about. Whether
  it counts is asked anew each time, since keys are revoked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType, Protocol

from plait.errors import AlreadyExists, InvalidInput, NotFound
from plait.model import canonical
from plait.model.ids import CommitId, ObjectId
from plait.model.merge_digests import MergeDigests
from plait.model.paths import FilePath
from plait.model.validation import BaseWeights
from plait_registry.domain.records import RepositoryId

KeyId = NewType("KeyId", str)
"""What securesystemslib calls a key by."""

PASSED = "PASSED"
"""The result of an attestation that counts."""

_HEX = frozenset("0123456789abcdef")


class ExpectedSource(StrEnum):
    """Who said first what a merge gives."""

    PUBLISHER = "publisher"  # who pushed the commit computed it
    VALIDATION = "validation"  # the first validation saw it


class KeyRole(StrEnum):
    """What the attestations by a key are good for."""

    VALIDATOR = "validator"  # they count towards what protected refs demand
    PUBLISHER = "publisher"  # they inform


@dataclass(frozen=True, slots=True)
class ExpectedRow:
    """What a merge of a commit into a base shall give, by one definition."""

    commit: CommitId
    digests: MergeDigests
    base: ObjectId
    base_weights: BaseWeights
    source: ExpectedSource
    stored_by: str
    stored_at: str

    @property
    def key(self) -> MergeKey:
        """What these digests are the only ones of."""
        return MergeKey(self.digests.definition, self.base)

    def agrees_with(self, other: ExpectedRow) -> bool:
        """Tell whether both expect the same weights."""
        same_weights = self.base_weights is other.base_weights
        return self.key == other.key and same_weights and self.digests.root == other.digests.root


@dataclass(frozen=True, slots=True)
class MergeKey:
    """By which definition, and into which base, a commit is merged."""

    definition: str
    base: ObjectId


@dataclass(frozen=True, slots=True)
class ValidationRow:
    """A validation as it is kept."""

    id: ObjectId
    commit: CommitId
    body: bytes
    """The canonical JSON of a `plait.model.validation.Validation`."""
    job: str | None
    """The job that it came from."""
    recorded_by: str
    recorded_at: str
    number: int = 0
    """The order of arrival; given by the database."""


@dataclass(frozen=True, slots=True)
class AttestationRow:
    """A signed statement, and what the registry read in it."""

    id: ObjectId
    """sha256 of the line with the key's id, and the payload: who says what."""
    commit: CommitId
    keyid: KeyId
    result: str
    definition: str
    base: ObjectId | None
    root: ObjectId | None
    envelope: bytes
    """Its canonical JSON."""
    recorded_by: str
    recorded_at: str


@dataclass(frozen=True, slots=True)
class ValidatorKey:
    """A registered public key."""

    keyid: KeyId
    public_key: str
    """PEM."""
    name: str
    role: KeyRole
    created_at: str
    expires_at: str | None
    revoked_at: str | None = None

    def signs_at(self, moment: str) -> bool:
        """Tell whether what came at that moment may be signed by the key."""
        is_expired = self.expires_at is not None and self.expires_at <= moment
        return self.revoked_at is None and not is_expired


@dataclass(frozen=True, slots=True)
class ValidationTally:
    """How much there is of the validations of one commit."""

    count: int
    size: int
    """Bytes of the documents."""


class ExpectedTable(Protocol):
    """Expected digests of commits."""

    def list(self, repository: RepositoryId, commit: CommitId) -> Sequence[ExpectedRow]:
        """Return them, oldest first."""

    def list_roots(self, repository: RepositoryId, commit: CommitId) -> Mapping[MergeKey, ObjectId]:
        """Return the roots alone."""

    def insert(self, repository: RepositoryId, row: ExpectedRow) -> None:
        """Store digests; the caller knows that there are none by this definition and base."""


class ValidationTable(Protocol):
    """Validations of commits."""

    def insert(self, repository: RepositoryId, row: ValidationRow) -> ValidationRow:
        """Store a validation; return it with its number."""

    def find(
        self, repository: RepositoryId, commit: CommitId, validation: ObjectId
    ) -> ValidationRow | None:
        """Return a validation by its id."""

    def find_by_job(self, repository: RepositoryId, job: str) -> ValidationRow | None:
        """Return the validation that came from a job."""

    def search(
        self, repository: RepositoryId, commit: CommitId, *, before: int | None, limit: int
    ) -> Sequence[ValidationRow]:
        """Return validations, newest first."""

    def measure(self, repository: RepositoryId, commit: CommitId) -> ValidationTally:
        """Return how many validations there are, and how large."""


class AttestationTable(Protocol):
    """Attestations of commits."""

    def insert(self, repository: RepositoryId, row: AttestationRow) -> None:
        """Store an attestation; the caller knows that it is not there yet."""

    def list(self, repository: RepositoryId, commit: CommitId) -> Sequence[AttestationRow]:
        """Return the attestations, oldest first."""


class ValidatorKeyTable(Protocol):
    """The public keys of validators."""

    def insert(self, key: ValidatorKey) -> None:
        """Add a key.

        Raises:
            AlreadyExists: `validator-key-exists`, also where that one is revoked.
        """

    def get(self, keyid: KeyId) -> ValidatorKey:
        """Return a key.

        Raises:
            NotFound: `validator-key-not-found`.
        """

    def list(self) -> Sequence[ValidatorKey]:
        """Return all keys, oldest first."""

    def revoke(self, keyid: KeyId, at: str) -> None:
        """Make a key useless; one that is revoked already stays as it is."""


class SignatureVerifier(Protocol):
    """What knows signatures, and the statements that they are under."""

    def read_key(self, public_key: str) -> tuple[KeyId, str]:
        """Return the id of the public key in a text, and its PEM without what is beside it.

        Raises:
            InvalidInput: `attestation-invalid`, it is no Ed25519 key.
        """

    def read(self, envelope: Mapping[str, object], keys: Mapping[KeyId, str]) -> SignedStatement:
        """Return what one of `keys` (PEM by id) signed.

        Raises:
            InvalidInput: `attestation-invalid`, it is no envelope, none of them signed it, or what
                they signed is no statement about a commit.
        """


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """What a statement says, and who signed it."""

    keyids: frozenset[KeyId]
    payload: bytes
    """The statement, as it was signed."""
    commit: CommitId
    files: Mapping[FilePath, ObjectId]
    """The sha256 of files of the commit, by path."""
    result: str
    """`PASSED`, `WARNED` or `FAILED`."""
    definition: str
    base: ObjectId | None
    root: ObjectId | None


def read_body(row: ValidationRow) -> dict[str, object]:
    """Return a validation's document."""
    document: dict[str, object] = canonical.loads(row.body)
    return document


def missing_key(keyid: str) -> NotFound:
    """Return the error that a validator's key is not registered."""
    return NotFound(
        "validator-key-not-found",
        f"There is no validator's key {keyid!r:.80} here: `plait key list` lists them.",
        keyid=keyid,
    )


def key_exists(keyid: str) -> AlreadyExists:
    """Return the error that a validator's key is registered already."""
    return AlreadyExists(
        "validator-key-exists",
        f"The validator's key {keyid:.80} is registered already, or was and is revoked: make "
        "another one by `plait key generate`.",
        keyid=keyid,
    )


def write_page_cursor(row: ValidationRow) -> str:
    """Return the place after a validation in a list, newest first."""
    return f"v{row.number:x}"


def parse_page_cursor(text: str) -> int:
    """Return the number before which to go on.

    Raises:
        InvalidInput: `invalid-input`, no list ever answered with that.
    """
    digits = text[1:]
    if text[:1] != "v" or not 0 < len(digits) < 16 or not set(digits) <= _HEX:
        raise InvalidInput(
            "invalid-input",
            f"{text!r:.80} is no cursor: send the `next` of the page before, or nothing.",
        )
    return int(digits, 16)
