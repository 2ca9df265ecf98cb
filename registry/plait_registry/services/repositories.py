"""Making, finding, listing, changing and deleting repositories."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from plait.model.address import RepositoryName
from plait.model.repository_kind import RepositoryKind
from plait_registry.domain.access import Caller, Right, verify_right
from plait_registry.domain.change import Action, Change
from plait_registry.domain.dedup import SALT_SIZE
from plait_registry.domain.ports import Clock, Database, Records
from plait_registry.domain.records import NewRepository, RepositoryQuery, RepositoryRecord
from plait_registry.domain.validation_wish import ValidationTrigger
from plait_registry.services.access import find_repository
from plait_registry.services.changes import record_change
from plait_registry.services.limits import verify_room_for_repository

MOST_REFS_AUDITED = 1_000
"""Of a deleted repository: the row of the audit log says where they were, and how many in all."""


class CreateRepository:
    """Makes an empty repository."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(
        self,
        caller: Caller,
        name: RepositoryName,
        description: str,
        *,
        private: bool = True,
        kind: RepositoryKind = RepositoryKind.ADAPTER,
    ) -> RepositoryRecord:
        """Return the new repository; an administrator makes the namespace along with it.

        Raises:
            AlreadyExists: `repository-exists`, also where only the case differs.
            PermissionDenied: `permission-denied`; the same whether the namespace is there or not.
            TooLarge: `too-many-repositories`.
        """
        verify_right(
            caller,
            caller.right_in(name.namespace),
            Right.MAINTAIN,
            f"the namespace {name.namespace}",
        )
        now, salt = self._clock.now(), secrets.token_bytes(SALT_SIZE)

        def create(records: Records) -> RepositoryRecord:
            namespace = records.namespaces.find(name.namespace.lower())
            if namespace is None:
                namespace = records.namespaces.insert(name.namespace, now)
                made = Change(Action.NAMESPACE_CREATE, namespace.name, namespace.key)
                record_change(records, caller, made, at=now)
            verify_room_for_repository(records, namespace.key)
            # Written as the namespace is, whatever the case in which it was typed.
            full_name = RepositoryName(namespace.name, name.name)
            created = records.repositories.insert(
                NewRepository(full_name, description, now, private, salt, kind)
            )
            change = Change.of_repository(Action.REPOSITORY_CREATE, full_name, private=private)
            record_change(records, caller, change, at=now)
            return created

        return self._database.transact(create)


class GetRepository:
    """Finds one repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller, name: RepositoryName) -> RepositoryRecord:
        """Return the repository.

        Raises:
            NotFound: `repository-not-found`.
        """
        with self._database.read() as records:
            return find_repository(records, caller, name, Right.READ)


class ListRepositories:
    """Searches repositories by name, base and adapter type."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, query: RepositoryQuery) -> Sequence[RepositoryRecord]:
        """Return the matches, sorted by key; ask on with `after` set to the last one's key."""
        with self._database.read() as records:
            return records.repositories.search(query)


class UpdateRepository:
    """Changes what a repository says about itself, and who may see it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(
        self,
        caller: Caller,
        name: RepositoryName,
        *,
        description: str | None,
        private: bool | None,
        validate_on: ValidationTrigger | None = None,
    ) -> RepositoryRecord:
        """Return the repository as it is now; None leaves something as it was."""
        now = self._clock.now()

        def update(records: Records) -> RepositoryRecord:
            found = find_repository(records, caller, name, Right.MAINTAIN)
            wanted: dict[str, Any] = {
                "description": found.description if description is None else description,
                "private": found.private if private is None else private,
            }
            trigger = validate_on or found.validate_on
            records.repositories.update(
                found.id,
                description=found.description if description is None else description,
                private=found.private if private is None else private,
                validate_on=trigger,
            )
            if validate_on is not None:
                wanted["validate_on"] = trigger.value
            change = Change.of_repository(Action.REPOSITORY_UPDATE, found.name, **wanted)
            record_change(records, caller, change, at=now)
            return records.repositories.get(found.name)

        return self._database.transact(update)


class DeleteRepository:
    """Deletes a repository with its refs and notes, for good."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, caller: Caller, name: RepositoryName) -> None:
        """Delete it; what only it held, garbage collection removes later."""
        now = self._clock.now()

        def delete(records: Records) -> None:
            found = find_repository(records, caller, name, Right.OWN)
            refs = records.refs.list(found.id)
            told = {ref.name: ref.target for ref in refs[:MOST_REFS_AUDITED]}
            records.repositories.delete(found.id)
            change = Change.of_repository(
                Action.REPOSITORY_DELETE, found.name, refs=told, ref_count=len(refs)
            )
            record_change(records, caller, change, at=now)

        self._database.transact(delete)
