"""Checking attestations, without asking anybody: which count, which do not, and why.

For each envelope, in this order; the first rule that it breaks is what the report says of it:

(1) it is an envelope, signed by a key that is known here, and nothing in it changed since;
(2) that key is a validator's, is not revoked, and had not expired when it was used;
(3) it is a statement about this commit and these files: one for another commit is replayed;
(4) the result is PASSED;
(5) all that passed by one definition and into one base have one root: where validators disagree,
    one of them had other weights, and none counts;
(6) where the merge was done again here, its root is that one.

Distinct keys are counted, of attestations by one definition and into one base.

The time of signing is by the validator's own clock: whoever holds an expired key can write an
earlier one. A revoked key counts for nothing, whatever the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from plait.errors import InvalidInput
from plait.model.attestation import Statement, TestResult, parse_statement
from plait.model.ids import CommitId, ObjectId, abbreviate
from plait.model.paths import FilePath
from plait.model.validation import BaseWeights
from plait.signing import compute_keyid, verify_envelope
from plait.wire_validation import ValidatorKey

VALIDATOR = "validator"
"""The role of keys whose attestations count."""
CLOCK_SKEW = timedelta(minutes=5)
"""How far a validator's clock may be ahead of this one."""
_KIND = "attestation-invalid"


class Standing(StrEnum):
    """Whether an attestation counts, and if not, why."""

    COUNTS = "counts"
    MALFORMED = "malformed"  # no envelope, or no statement of a validation
    UNKNOWN_KEY = "unknown-key"  # no key that is known here signed it
    WRONG_SIGNATURE = "wrong-signature"  # changed since, or signed by another key than it says
    WRONG_ROLE = "wrong-role"  # the key is a publisher's
    KEY_REVOKED = "key-revoked"
    KEY_EXPIRED = "key-expired"  # before the time of signing
    SIGNED_LATER = "signed-later"  # the time of signing is still to come
    OTHER_COMMIT = "other-commit"  # replayed: it is about another version
    OTHER_FILES = "other-files"  # it names the commit, but not its files
    NOT_PASSED = "not-passed"  # a validator says that something is wrong
    OTHER_MERGE = "other-merge"  # by another definition or into another base than most, or here
    OTHER_ROOT = "other-root"  # other weights came out than elsewhere


@dataclass(frozen=True, slots=True)
class MergedHere:
    """What merging again on this machine gave."""

    definition: str
    base: ObjectId
    base_weights: BaseWeights
    root: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What attestations are asked about."""

    commit: CommitId | None
    """None: any one commit with these files."""
    files: Mapping[FilePath, ObjectId]
    """The files of the version, by their sha256."""
    now: str
    """UTC to the second."""
    merged: MergedHere | None = None


@dataclass(frozen=True, slots=True)
class CheckedAttestation:
    """One signature of one envelope, and what is to be said of it."""

    standing: Standing
    message: str
    """For people; empty where it counts."""
    keyid: str | None = None
    """The key that signed, where one that is known did."""
    name: str | None = None
    """Whose key it is."""
    statement: Statement | None = None
    """What was signed, where a known key signed it."""

    def to_json(self) -> dict[str, Any]:
        """Return what `plait verify --json` prints of it."""
        said = self.statement
        return {
            "standing": self.standing.value,
            "message": self.message,
            "keyid": self.keyid,
            "name": self.name,
            "result": None if said is None else said.result.value,
            "definition": None if said is None else said.definition,
            "base": None if said is None else said.base,
            "base_weights": None if said is None else said.base_weights.value,
            "root": None if said is None else said.root,
            "signed_at": None if said is None else said.signed_at,
            "environment": {} if said is None else dict(said.environment),
        }


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What checking all attestations of a version gave."""

    attestations: tuple[CheckedAttestation, ...]

    @property
    def counting(self) -> tuple[CheckedAttestation, ...]:
        """Those that count."""
        return tuple(item for item in self.attestations if item.standing is Standing.COUNTS)

    @property
    def keyids(self) -> frozenset[str]:
        """The distinct keys behind those that count."""
        return frozenset(item.keyid for item in self.counting if item.keyid is not None)

    @property
    def root(self) -> ObjectId | None:
        """The root that all of them name; None where none counts."""
        said = [item.statement.root for item in self.counting if item.statement is not None]
        return said[0] if said else None

    def to_json(self) -> dict[str, Any]:
        """Return what `plait verify --json` prints."""
        return {
            "keys": sorted(self.keyids),
            "root": self.root,
            "attestations": [item.to_json() for item in self.attestations],
        }


def verify_attestations(
    envelopes: Iterable[object], keys: Sequence[ValidatorKey], claim: Claim
) -> VerificationReport:
    """Check envelopes against keys, as the module says.

    Nothing in an envelope makes this raise: what is wrong with one stands in the report.

    Raises:
        InvalidInput: `attestation-invalid`, a key is none, or has another id than its own.
        Unavailable: `extra-missing`.
    """
    known = {key.keyid: key for key in keys}
    for key in known.values():
        _verify_keyid(key)
    checked = [item for envelope in envelopes for item in _check(envelope, known, claim)]
    checked = _compare_commits(checked) if claim.commit is None else checked
    return VerificationReport(tuple(_compare_roots(checked, claim.merged)))


def _check(
    envelope: object, keys: Mapping[str, ValidatorKey], claim: Claim
) -> list[CheckedAttestation]:
    # (1) the signature, then what was signed.
    try:
        payload, signed = verify_envelope(
            envelope, {keyid: key.public_key for keyid, key in keys.items()}
        )
    except InvalidInput as error:
        standing = Standing(error.details.get("reason", Standing.MALFORMED))
        return [CheckedAttestation(standing, error.message)]
    try:
        statement = parse_statement(payload)
    except InvalidInput as error:
        return [
            CheckedAttestation(Standing.MALFORMED, error.message, keyid, keys[keyid].name)
            for keyid in sorted(signed)
        ]
    checked = []
    for keyid in sorted(signed):
        standing, message = _judge(statement, keys[keyid], claim)
        checked.append(CheckedAttestation(standing, message, keyid, keys[keyid].name, statement))
    return checked


def _judge(said: Statement, key: ValidatorKey, claim: Claim) -> tuple[Standing, str]:
    # (2) the key.
    if key.role != VALIDATOR:
        return Standing.WRONG_ROLE, f"The key is a {key.role}'s, and informs alone."
    if key.revoked_at is not None:
        return Standing.KEY_REVOKED, f"The key was revoked at {key.revoked_at}."
    if key.expires_at is not None and _parse_time(said.signed_at) >= _parse_time(key.expires_at):
        return (
            Standing.KEY_EXPIRED,
            f"It was signed at {said.signed_at}, and the key had expired at {key.expires_at}.",
        )
    if _parse_time(said.signed_at) > _parse_time(claim.now) + CLOCK_SKEW:
        return Standing.SIGNED_LATER, f"It says to be signed at {said.signed_at}: still to come."
    # (3) the subject.
    if claim.commit not in {None, said.commit}:
        return (
            Standing.OTHER_COMMIT,
            f"It is about the commit {abbreviate(said.commit)}, not this one.",
        )
    if said.files != claim.files:
        return Standing.OTHER_FILES, f"Its files are others: {_name_difference(said, claim)}."
    # (4) the result.
    if said.result is not TestResult.PASSED:
        failed = ", ".join([*said.failed, *said.warned][:3])
        return Standing.NOT_PASSED, f"The validator says {said.verdict.value}: {failed or 'no'}."
    return Standing.COUNTS, ""


def _name_difference(said: Statement, claim: Claim) -> str:
    names = said.files.keys() | claim.files.keys()
    return next(name for name in sorted(names) if said.files.get(name) != claim.files.get(name))


def _compare_commits(checked: Sequence[CheckedAttestation]) -> list[CheckedAttestation]:
    """Let none count where no commit was named, and they are about several."""
    commits = {_said(item).commit for item in checked if item.standing is Standing.COUNTS}
    if len(commits) < 2:
        return list(checked)
    message = "These attestations are about several commits of the same files: name the one."
    return [
        replace(item, standing=Standing.OTHER_COMMIT, message=message)
        if item.standing is Standing.COUNTS
        else item
        for item in checked
    ]


def _compare_roots(
    checked: Sequence[CheckedAttestation], merged: MergedHere | None
) -> list[CheckedAttestation]:
    # (5) and (6): compare among those of one definition, base and kind of weights.
    groups: dict[tuple[object, ...], list[CheckedAttestation]] = {}
    for item in checked:
        if item.standing is Standing.COUNTS:
            groups.setdefault(_merge_of(item), []).append(item)
    if not groups:
        return list(checked)
    if merged is None:
        # The most keys win; of equals, the first by name, so that the answer is always the same.
        chosen = max(sorted(groups, key=repr), key=lambda key: len({i.keyid for i in groups[key]}))
        others = "most are by another definition or into another base"
    else:
        chosen = merged.definition, merged.base, merged.base_weights
        others = "it is by another definition, or into another base, than merged here"
    roots = {_said(item).root for item in groups.get(chosen, ())}
    return [
        item
        if item.standing is not Standing.COUNTS
        else replace(item, standing=Standing.OTHER_MERGE, message=f"Not compared: {others}.")
        if _merge_of(item) != chosen
        else _compare_root(item, roots, merged)
        for item in checked
    ]


def _compare_root(
    item: CheckedAttestation, roots: set[ObjectId | None], merged: MergedHere | None
) -> CheckedAttestation:
    root = _said(item).root
    if merged is not None:
        if root == merged.root:
            return item
        message = f"It saw the root {root}, and the merge here gave {merged.root}."
    elif len(roots) == 1:
        return item
    else:
        message = (
            f"It saw the root {root}, and another validator another one: merge again (--base) to "
            "see whose is right."
        )
    return replace(item, standing=Standing.OTHER_ROOT, message=message)


def _merge_of(item: CheckedAttestation) -> tuple[object, ...]:
    said = _said(item)
    return said.definition, said.base, said.base_weights


def _said(item: CheckedAttestation) -> Statement:
    if item.statement is None:
        raise ValueError(f"{item.standing} has no statement")
    return item.statement


def _verify_keyid(key: ValidatorKey) -> None:
    computed = compute_keyid(key.public_key)
    if computed != key.keyid:
        # Else one key under two ids would count as two validators.
        raise InvalidInput(
            _KIND, f"The key {key.keyid[:80]} has another id, {computed}: use that one."
        )


def _parse_time(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(_KIND, f"{text!r:.40} is no time.") from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
