"""What namespaces hold, in memory."""

from __future__ import annotations

from collections.abc import Collection

from typing_extensions import override

from plait.model.ids import ObjectId
from plait_registry.adapters.memory.state import MemoryTable
from plait_registry.domain.usage import UsageTable


class MemoryUsageTable(MemoryTable, UsageTable):
    """What namespaces hold, in one transaction."""

    @override
    def measure(self, namespace: str) -> tuple[int, int]:
        held = self._find_held(namespace)
        return sum(self._state.files[file].size for file in held), len(held)

    @override
    def find_unheld(self, namespace: str, files: Collection[ObjectId]) -> frozenset[ObjectId]:
        return frozenset(files) - self._find_held(namespace)

    def _find_held(self, namespace: str) -> set[ObjectId]:
        owners = {
            row.id
            for key, row in self._state.repositories.items()
            if key.startswith(f"{namespace}/")
        }
        return {file for owner, file in self._state.repository_files if owner in owners}
