"""Made-up validations, attestations and keys, for tests of the database and of the rules."""

from database_suite.rows import NOW, digest
from plait.model.ids import CommitId
from plait.model.merge_digests import MergeDigests
from plait.model.validation import BaseWeights
from plait_registry.domain.validations import (
    PASSED,
    AttestationRow,
    ExpectedRow,
    ExpectedSource,
    KeyId,
    KeyRole,
    ValidationRow,
    ValidatorKey,
)

DIGESTS = MergeDigests.of({"w": digest("w"), "v": digest("v")})
"""Of a merge with two tensors."""
OTHER_DIGESTS = MergeDigests.of({"w": digest("other"), "v": digest("v")})
BASE = digest("base")


def expected_row(
    commit: CommitId, digests: MergeDigests = DIGESTS, *, base: str = "base"
) -> ExpectedRow:
    return ExpectedRow(
        commit=commit,
        digests=digests,
        base=digest(base),
        base_weights=BaseWeights.ORIGINAL,
        source=ExpectedSource.PUBLISHER,
        stored_by="ada",
        stored_at=NOW,
    )


def validation_row(commit: CommitId, word: str, *, job: str | None = None) -> ValidationRow:
    body = f'{{"word":"{word}"}}'.encode()
    return ValidationRow(digest(word), commit, body, job, "ada", NOW)


def attestation_row(
    commit: CommitId,
    keyid: str = "k1",
    *,
    result: str = PASSED,
    digests: MergeDigests = DIGESTS,
    at: str = NOW,
) -> AttestationRow:
    word = f"{keyid} {result} {digests.root} {at}"
    return AttestationRow(
        id=digest(word),
        commit=commit,
        keyid=KeyId(keyid),
        result=result,
        definition=digests.definition,
        base=BASE,
        root=digests.root,
        envelope=f'{{"word":"{word}"}}'.encode(),
        recorded_by="ada",
        recorded_at=at,
    )


def key_row(
    keyid: str = "k1",
    *,
    role: KeyRole = KeyRole.VALIDATOR,
    expires_at: str | None = None,
    revoked_at: str | None = None,
) -> ValidatorKey:
    return ValidatorKey(
        KeyId(keyid), f"PEM of {keyid}", f"the owner of {keyid}", role, NOW, expires_at, revoked_at
    )
