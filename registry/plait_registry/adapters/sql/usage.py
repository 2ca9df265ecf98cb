"""What namespaces hold."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, func, select
from sqlalchemy.sql.elements import ColumnElement
from typing_extensions import override

from plait.model.ids import ObjectId
from plait_registry.adapters.sql.dialect import batches
from plait_registry.adapters.sql.tables import files, repositories, repository_files
from plait_registry.domain.usage import UsageTable

_AFTER_SLASH = "0"
"""The character after `/` in ASCII, which ends the range of a namespace's keys."""


class SqlUsageTable(UsageTable):
    """What namespaces hold, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def measure(self, namespace: str) -> tuple[int, int]:
        held = (
            select(repository_files.c.file_sha256)
            .join(repositories, repositories.c.id == repository_files.c.repository_id)
            .where(*within_namespace(namespace))
        )
        row = self._connection.execute(
            select(func.coalesce(func.sum(files.c.size), 0), func.count()).where(
                files.c.sha256.in_(held)
            )
        ).one()
        return int(row[0]), int(row[1])

    @override
    def find_unheld(self, namespace: str, files: Collection[ObjectId]) -> frozenset[ObjectId]:
        held: set[str] = set()
        for batch in batches(files):
            statement = (
                select(repository_files.c.file_sha256)
                .join(repositories, repositories.c.id == repository_files.c.repository_id)
                .where(*within_namespace(namespace), repository_files.c.file_sha256.in_(batch))
            )
            held.update(self._connection.execute(statement).scalars())
        return frozenset(file for file in files if file not in held)


def within_namespace(namespace: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the condition that a repository is of a namespace, as a range of its index."""
    key = repositories.c.key
    return (key > f"{namespace}/", key < f"{namespace}{_AFTER_SLASH}")
