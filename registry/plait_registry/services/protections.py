"""Listing, setting and deleting the rules for a repository's refs."""

from __future__ import annotations

from collections.abc import Sequence

from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait_registry.domain.access import RIGHT_OF_ROLE, Caller, Right, verify_right
from plait_registry.domain.account_errors import missing_protection
from plait_registry.domain.accounts import Protection
from plait_registry.domain.change import Action, Change
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.protection import verify_demand, verify_pattern
from plait_registry.domain.records import RepositoryRecord
from plait_registry.services.access import find_repository, right_to
from plait_registry.services.changes import record_change

MOST_PROTECTIONS = 100
"""Of one repository: every push looks at all of them."""


class ListProtections:
    """Lists the rules of a repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller, name: RepositoryName) -> Sequence[Protection]:
        """Return the rules, sorted by pattern, to whoever may read the repository."""
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            return records.protections.list(repository.id)


class SetProtection:
    """Makes a rule, or replaces the one of the same pattern."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: RepositoryName, rule: Protection) -> Protection:
        """Return the rule; who is below the role that it demands can neither make nor change it.

        Raises:
            InvalidInput: the pattern cannot be one, or there are too many, or too much is demanded.
            PermissionDenied: `permission-denied`.
        """
        verify_pattern(rule.pattern)
        verify_demand(rule.attestations)
        now = self._clock.now()

        def put(records: Records) -> Protection:
            repository = find_repository(records, caller, name, Right.MAINTAIN)
            rules = {found.pattern: found for found in records.protections.list(repository.id)}
            current = rules.get(rule.pattern)
            if current == rule:
                return rule
            _verify_within_role(caller, repository, rule)
            if current is not None:
                _verify_within_role(caller, repository, current)
            elif len(rules) >= MOST_PROTECTIONS:
                raise InvalidInput(
                    "invalid-input",
                    f"{name} has {MOST_PROTECTIONS} rules, and may not have more: join some.",
                )
            records.protections.put(repository.id, rule)
            change = Change.of_repository(
                Action.PROTECTION_SET,
                repository.name,
                pattern=rule.pattern,
                role=rule.role.value,
                fast_forward_only=rule.fast_forward_only,
                attestations=rule.attestations,
            )
            record_change(records, caller, change, at=now)
            return rule

        return self._database.transact(put)


class DeleteProtection:
    """Lifts a rule."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: RepositoryName, pattern: str) -> None:
        """Delete the rule of exactly this pattern.

        Raises:
            NotFound: `protection-not-found`.
            PermissionDenied: `permission-denied`.
        """
        verify_pattern(pattern)
        now = self._clock.now()

        def delete(records: Records) -> None:
            repository = find_repository(records, caller, name, Right.MAINTAIN)
            rules = {rule.pattern: rule for rule in records.protections.list(repository.id)}
            if pattern not in rules:
                raise missing_protection(pattern)
            _verify_within_role(caller, repository, rules[pattern])
            records.protections.delete(repository.id, pattern)
            change = Change.of_repository(
                Action.PROTECTION_DELETE, repository.name, pattern=pattern
            )
            record_change(records, caller, change, at=now)

        self._database.transact(delete)


def _verify_within_role(caller: Caller, repository: RepositoryRecord, rule: Protection) -> None:
    """Check that the caller could pass the rule: else a maintainer could lift what owners set."""
    need = RIGHT_OF_ROLE[rule.role]
    verify_right(caller, right_to(caller, repository), need, f"{repository.name}'s rules")
