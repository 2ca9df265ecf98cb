"""What the rules of a repository say about a ref that is about to move: the one place for it.

Whoever makes or moves a ref calls it in the transaction that does so; earlier calls spare work.
"""

from __future__ import annotations

from plait.model.ids import CommitId
from plait.model.refs import RefName, RefUpdate
from plait_registry.domain.access import Caller
from plait_registry.domain.attesting import attestations_missing, find_counted
from plait_registry.domain.ports import Records
from plait_registry.domain.protection import find_attesting_rule, verify_move
from plait_registry.domain.records import RepositoryRecord
from plait_registry.services.access import right_to


def verify_update_allowed(
    records: Records, caller: Caller, repository: RepositoryRecord, update: RefUpdate
) -> None:
    """Check that the caller may make a ref point where it shall.

    Raises:
        PermissionDenied: `ref-protected`, `attestations-missing`.
    """
    rules = records.protections.list(repository.id)
    verify_move(rules, update.name, right_to(caller, repository), is_forced=update.force)
    verify_attested(records, repository, update.name, update.new)


def verify_attested(
    records: Records, repository: RepositoryRecord, ref: RefName, commit: CommitId
) -> None:
    """Check that enough validators attested a commit; one that a ref points at already may stay.

    Raises:
        PermissionDenied: `attestations-missing`.
    """
    rule = find_attesting_rule(records.protections.list(repository.id), ref)
    if rule is None:
        return
    current = records.refs.find(repository.id, ref)
    if current is not None and current.target == commit:
        return
    registered = records.validator_keys.list()
    counted = find_counted(
        records.attestations.list(repository.id, commit),
        registered,
        records.expected.list_roots(repository.id, commit),
    )
    if len(counted) < rule.attestations:
        keys = [key for key in registered if key.keyid in counted]
        raise attestations_missing(repository.name, ref, commit, rule=rule, keys=keys)
