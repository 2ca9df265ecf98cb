"""Finding the bases that a registry holds."""

from __future__ import annotations

from collections.abc import Sequence

from plait_registry.domain.bases import BaseQuery, HeldBase
from plait_registry.domain.ports import Database


class ListBases:
    """Searches bases by fingerprint and name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, query: BaseQuery) -> Sequence[HeldBase]:
        """Return the matches that the query's caller may read."""
        with self._database.read() as records:
            return records.bases.search(query)
