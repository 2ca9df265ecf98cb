"""The number by which a repository's changes are told from one another."""

from __future__ import annotations

from sqlalchemy import Connection, text

from plait_registry.domain.records import RepositoryId

_ADVANCE = text(
    "INSERT INTO repository_versions (key, version) "
    "SELECT key, 1 FROM repositories WHERE id = :repository "
    "ON CONFLICT (key) DO UPDATE SET version = repository_versions.version + 1"
)


def advance_version(connection: Connection, repository: RepositoryId) -> None:
    """Say that what a repository names or holds has changed, in the transaction that does it."""
    connection.execute(_ADVANCE, {"repository": repository})
