"""Making, finding and listing repositories."""

from __future__ import annotations

from collections.abc import Sequence

from plait.model.address import RepositoryName
from plait_registry.domain.ports import Clock, Database
from plait_registry.domain.records import RepositoryQuery, RepositoryRecord


class CreateRepository:
    """Makes an empty repository."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def __call__(self, name: RepositoryName, description: str) -> RepositoryRecord:
        """Return the new repository.

        Raises:
            AlreadyExists: `repository-exists`, also where only the case differs.
        """
        with self._database.write() as records:
            return records.repositories.insert(name, description, self._clock.now())


class GetRepository:
    """Finds one repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, name: RepositoryName) -> RepositoryRecord:
        """Return the repository.

        Raises:
            NotFound: `repository-not-found`.
        """
        with self._database.read() as records:
            return records.repositories.get(name)


class ListRepositories:
    """Searches repositories by name, base and adapter type."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, query: RepositoryQuery) -> Sequence[RepositoryRecord]:
        """Return the matches, sorted by key; ask on with `after` set to the last one's key."""
        with self._database.read() as records:
            return records.repositories.search(query)
