"""Which attestations count towards what a protected ref demands.

- One counts if its result is PASSED, its key has the role of a validator, is not revoked, and had
  not ended when the attestation came, and its root is the expected one, where digests are stored.
- Keys are counted that passed one and the same root, by one definition and into one base:
  validators who saw different weights do not add up.
- A key that saw two roots of one merge contradicts itself, whatever it called them, and counts for
  neither: a merge is exact, so that one of its statements is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from plait.errors import PermissionDenied
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId, abbreviate
from plait.model.refs import RefName
from plait_registry.domain.accounts import Protection
from plait_registry.domain.validations import (
    PASSED,
    AttestationRow,
    KeyId,
    KeyRole,
    MergeKey,
    ValidatorKey,
)


def is_counted(row: AttestationRow, key: ValidatorKey | None) -> bool:
    """Tell whether an attestation counts by what it says and by its key as it is now."""
    if key is None or key.role is not KeyRole.VALIDATOR or row.result != PASSED:
        return False
    return key.signs_at(row.recorded_at)


def find_counted(
    rows: Iterable[AttestationRow],
    keys: Iterable[ValidatorKey],
    expected: Mapping[MergeKey, ObjectId],
) -> frozenset[KeyId]:
    """Return the keys that passed the root which most of them passed."""
    by_id = {key.keyid: key for key in keys}
    seen: dict[tuple[MergeKey, KeyId], set[ObjectId]] = {}
    passed: dict[tuple[MergeKey, ObjectId], set[KeyId]] = {}
    for row in rows:
        if row.base is None or row.root is None:
            continue
        merge = MergeKey(row.definition, row.base)
        seen.setdefault((merge, row.keyid), set()).add(row.root)
        if not is_counted(row, by_id.get(row.keyid)):
            continue
        if expected.get(merge, row.root) == row.root:
            passed.setdefault((merge, row.root), set()).add(row.keyid)
    agreed = (
        {keyid for keyid in keyids if len(seen[merge, keyid]) == 1}
        for (merge, _), keyids in passed.items()
    )
    return frozenset(max(agreed, key=_count, default=()))


def attestations_missing(
    repository: RepositoryName,
    ref: RefName,
    commit: CommitId,
    *,
    rule: Protection,
    keys: Iterable[ValidatorKey],
) -> PermissionDenied:
    """Return the error that too few validators, with these keys, attested a commit."""
    have = sorted(keys, key=lambda key: key.keyid)
    short = abbreviate(commit)
    by = ", ".join(f"{key.name} ({abbreviate(key.keyid)})" for key in have)
    return PermissionDenied(
        "attestations-missing",
        f"{ref!r} moves only to commits that {rule.attestations} validators have attested, by the "
        f"rule for {rule.pattern!r}, and {short} has {len(have)}{f', by {by}' if by else ''}. Push "
        f"it to another branch, run `plait validate {repository}@{short}` with other validators' "
        f"keys, then move {ref!r}.",
        ref=ref,
        pattern=rule.pattern,
        commit=commit,
        need=rule.attestations,
        have=len(have),
        keys=[key.keyid for key in have],
    )


def _count(keys: Collection[KeyId]) -> int:
    return len(keys)
