"""Transactions over dictionaries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from typing_extensions import override

from plait.errors import Unavailable
from plait_registry.adapters.memory.accounts import (
    MemoryAuditTable,
    MemoryNamespaceTable,
    MemoryProtectionTable,
    MemoryTokenTable,
    MemoryUserTable,
)
from plait_registry.adapters.memory.bases import MemoryBaseTable
from plait_registry.adapters.memory.commits import MemoryCommitTable
from plait_registry.adapters.memory.events import (
    MemoryDeliveryTable,
    MemoryEventTable,
    MemoryWebhookTable,
)
from plait_registry.adapters.memory.files import MemoryFileTable
from plait_registry.adapters.memory.garbage import (
    MemoryCondemnedTable,
    MemoryHeldTable,
    MemoryMarkTable,
    MemoryRemainsTable,
)
from plait_registry.adapters.memory.inspection import MemoryInspectionTable
from plait_registry.adapters.memory.jobs import MemoryJobTable
from plait_registry.adapters.memory.names import MemoryRefTable, MemoryRepositoryTable
from plait_registry.adapters.memory.pushes import MemoryPushTable
from plait_registry.adapters.memory.ref_journal import MemoryJournalTable
from plait_registry.adapters.memory.state import State
from plait_registry.adapters.memory.tallies import MemoryTallyTable
from plait_registry.adapters.memory.usage import MemoryUsageTable
from plait_registry.adapters.memory.validations import (
    MemoryAttestationTable,
    MemoryExpectedTable,
    MemoryValidationTable,
    MemoryValidatorKeyTable,
)
from plait_registry.domain.ports import Database, Records

T = TypeVar("T")


class MemoryRecords(Records):
    """All tables, over the state of one transaction."""

    def __init__(self, state: State, *, writable: bool) -> None:
        self._repositories = MemoryRepositoryTable(state, writable=writable)
        self._refs = MemoryRefTable(state, writable=writable)
        self._commits = MemoryCommitTable(state, writable=writable)
        self._bases = MemoryBaseTable(state, writable=writable)
        self._files = MemoryFileTable(state, writable=writable)
        self._pushes = MemoryPushTable(state, writable=writable)
        self._users = MemoryUserTable(state, writable=writable)
        self._namespaces = MemoryNamespaceTable(state, writable=writable)
        self._tokens = MemoryTokenTable(state, writable=writable)
        self._protections = MemoryProtectionTable(state, writable=writable)
        self._audit = MemoryAuditTable(state, writable=writable)
        self._events = MemoryEventTable(state, writable=writable)
        self._webhooks = MemoryWebhookTable(state, writable=writable)
        self._deliveries = MemoryDeliveryTable(state, writable=writable)
        self._held = MemoryHeldTable(state, writable=writable)
        self._marks = MemoryMarkTable(state, writable=writable)
        self._condemned = MemoryCondemnedTable(state, writable=writable)
        self._remains = MemoryRemainsTable(state, writable=writable)
        self._inspection = MemoryInspectionTable(state, writable=writable)
        self._usage = MemoryUsageTable(state, writable=writable)
        self._tallies = MemoryTallyTable(state, writable=writable)
        self._journal = MemoryJournalTable(state, writable=writable)
        self._jobs = MemoryJobTable(state, writable=writable)
        self._expected = MemoryExpectedTable(state, writable=writable)
        self._validations = MemoryValidationTable(state, writable=writable)
        self._attestations = MemoryAttestationTable(state, writable=writable)
        self._validator_keys = MemoryValidatorKeyTable(state, writable=writable)

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
    def bases(self) -> MemoryBaseTable:
        return self._bases

    @property
    @override
    def files(self) -> MemoryFileTable:
        return self._files

    @property
    @override
    def pushes(self) -> MemoryPushTable:
        return self._pushes

    @property
    @override
    def users(self) -> MemoryUserTable:
        return self._users

    @property
    @override
    def namespaces(self) -> MemoryNamespaceTable:
        return self._namespaces

    @property
    @override
    def tokens(self) -> MemoryTokenTable:
        return self._tokens

    @property
    @override
    def protections(self) -> MemoryProtectionTable:
        return self._protections

    @property
    @override
    def audit(self) -> MemoryAuditTable:
        return self._audit

    @property
    @override
    def events(self) -> MemoryEventTable:
        return self._events

    @property
    @override
    def webhooks(self) -> MemoryWebhookTable:
        return self._webhooks

    @property
    @override
    def deliveries(self) -> MemoryDeliveryTable:
        return self._deliveries

    @property
    @override
    def held(self) -> MemoryHeldTable:
        return self._held

    @property
    @override
    def marks(self) -> MemoryMarkTable:
        return self._marks

    @property
    @override
    def condemned(self) -> MemoryCondemnedTable:
        return self._condemned

    @property
    @override
    def remains(self) -> MemoryRemainsTable:
        return self._remains

    @property
    @override
    def inspection(self) -> MemoryInspectionTable:
        return self._inspection

    @property
    @override
    def usage(self) -> MemoryUsageTable:
        return self._usage

    @property
    @override
    def tallies(self) -> MemoryTallyTable:
        return self._tallies

    @property
    @override
    def journal(self) -> MemoryJournalTable:
        return self._journal

    @property
    @override
    def jobs(self) -> MemoryJobTable:
        return self._jobs

    @property
    @override
    def expected(self) -> MemoryExpectedTable:
        return self._expected

    @property
    @override
    def validations(self) -> MemoryValidationTable:
        return self._validations

    @property
    @override
    def attestations(self) -> MemoryAttestationTable:
        return self._attestations

    @property
    @override
    def validator_keys(self) -> MemoryValidatorKeyTable:
        return self._validator_keys


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

    @override
    def transact(self, work: Callable[[Records], T]) -> T:
        with self.write() as records:
            return work(records)
