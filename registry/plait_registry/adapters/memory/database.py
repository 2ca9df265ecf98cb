"""Transactions over dictionaries."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from typing_extensions import override

from plait.errors import Unavailable
from plait_registry.adapters.memory.commits import MemoryCommitTable
from plait_registry.adapters.memory.files import MemoryFileTable
from plait_registry.adapters.memory.names import MemoryRefTable, MemoryRepositoryTable
from plait_registry.adapters.memory.pushes import MemoryPushTable
from plait_registry.adapters.memory.state import State
from plait_registry.domain.ports import Database, Records


class MemoryRecords(Records):
    """All tables, over the state of one transaction."""

    def __init__(self, state: State, *, writable: bool) -> None:
        self._repositories = MemoryRepositoryTable(state, writable=writable)
        self._refs = MemoryRefTable(state, writable=writable)
        self._commits = MemoryCommitTable(state, writable=writable)
        self._files = MemoryFileTable(state, writable=writable)
        self._pushes = MemoryPushTable(state, writable=writable)

    @property
    @override
    def repositories(self) -> MemoryRepositoryTable:
        return self._repositories

    @property
    @override
    def refs(self) -> MemoryRefTable:
        return self._refs

    @property
    @override
    def commits(self) -> MemoryCommitTable:
        return self._commits

    @property
    @override
    def files(self) -> MemoryFileTable:
        return self._files

    @property
    @override
    def pushes(self) -> MemoryPushTable:
        return self._pushes


class MemoryDatabase(Database):
    """A database that ends with its process; safe to share between threads."""

    def __init__(self, *, wait_s: float = 30.0) -> None:
        self._state = State()
        self._writer = threading.Lock()
        self._wait_s = wait_s

    @override
    @contextmanager
    def read(self) -> Generator[Records, None, None]:
        yield MemoryRecords(self._state, writable=False)

    @override
    @contextmanager
    def write(self) -> Generator[Records, None, None]:
        if not self._writer.acquire(timeout=self._wait_s):
            raise Unavailable("busy", "The database is busy with another write.")
        try:
            draft = self._state.copy()
            yield MemoryRecords(draft, writable=True)
            self._state = draft
        finally:
            self._writer.release()
