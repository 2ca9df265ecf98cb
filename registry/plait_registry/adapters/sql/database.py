"""The database port over SQLAlchemy Core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, select
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import override

from plait_registry.adapters.sql import migrating, tables
from plait_registry.adapters.sql.accounts import (
    SqlAuditTable,
    SqlNamespaceTable,
    SqlProtectionTable,
    SqlTokenTable,
    SqlUserTable,
)
from plait_registry.adapters.sql.bases import SqlBaseTable
from plait_registry.adapters.sql.commits import SqlCommitTable
from plait_registry.adapters.sql.dialect import begin, build_engine
from plait_registry.adapters.sql.driver_errors import (
    busy,
    may_win_alone,
    translate,
    translated_errors,
)
from plait_registry.adapters.sql.events import SqlEventTable
from plait_registry.adapters.sql.files import SqlFileTable
from plait_registry.adapters.sql.garbage import (
    SqlCondemnedTable,
    SqlMarkTable,
    SqlRemainsTable,
)
from plait_registry.adapters.sql.held import SqlHeldTable
from plait_registry.adapters.sql.inspection import SqlInspectionTable
from plait_registry.adapters.sql.jobs import SqlJobTable
from plait_registry.adapters.sql.limits import (
    DEFAULT_POOL,
    DEFAULT_STATEMENT_S,
    LONGEST_WAIT_S,
    Access,
    Limits,
)
from plait_registry.adapters.sql.pushes import SqlPushTable
from plait_registry.adapters.sql.ref_journal import SqlJournalTable
from plait_registry.adapters.sql.refs import SqlRefTable
from plait_registry.adapters.sql.repositories import SqlRepositoryTable
from plait_registry.adapters.sql.tallies import SqlTallyTable
from plait_registry.adapters.sql.usage import SqlUsageTable
from plait_registry.adapters.sql.validations import (
    SqlAttestationTable,
    SqlExpectedTable,
    SqlValidationTable,
    SqlValidatorKeyTable,
)
from plait_registry.adapters.sql.webhooks import SqlDeliveryTable, SqlWebhookTable
from plait_registry.domain.ports import Database, Records

T = TypeVar("T")


class SqlRecords(Records):
    """All tables, over the connection of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._repositories = SqlRepositoryTable(connection)
        self._refs = SqlRefTable(connection)
        self._commits = SqlCommitTable(connection)
        self._bases = SqlBaseTable(connection)
        self._files = SqlFileTable(connection)
        self._pushes = SqlPushTable(connection)
        self._users = SqlUserTable(connection)
        self._namespaces = SqlNamespaceTable(connection)
        self._tokens = SqlTokenTable(connection)
        self._protections = SqlProtectionTable(connection)
        self._audit = SqlAuditTable(connection)
        self._events = SqlEventTable(connection)
        self._webhooks = SqlWebhookTable(connection)
        self._deliveries = SqlDeliveryTable(connection)
        self._held = SqlHeldTable(connection)
        self._marks = SqlMarkTable(connection)
        self._condemned = SqlCondemnedTable(connection)
        self._remains = SqlRemainsTable(connection)
        self._inspection = SqlInspectionTable(connection)
        self._usage = SqlUsageTable(connection)
        self._tallies = SqlTallyTable(connection)
        self._journal = SqlJournalTable(connection)
        self._jobs = SqlJobTable(connection)
        self._expected = SqlExpectedTable(connection)
        self._validations = SqlValidationTable(connection)
        self._attestations = SqlAttestationTable(connection)
        self._validator_keys = SqlValidatorKeyTable(connection)

    @property
    @override
    def repositories(self) -> SqlRepositoryTable:
        return self._repositories

    @property
    @override
    def refs(self) -> SqlRefTable:
        return self._refs

    @property
    @override
    def commits(self) -> SqlCommitTable:
        return self._commits

    @property
    @override
    def bases(self) -> SqlBaseTable:
        return self._bases

    @property
    @override
    def files(self) -> SqlFileTable:
        return self._files

    @property
    @override
    def pushes(self) -> SqlPushTable:
        return self._pushes

    @property
    @override
    def users(self) -> SqlUserTable:
        return self._users

    @property
    @override
    def namespaces(self) -> SqlNamespaceTable:
        return self._namespaces

    @property
    @override
    def tokens(self) -> SqlTokenTable:
        return self._tokens

    @property
    @override
    def protections(self) -> SqlProtectionTable:
        return self._protections

    @property
    @override
    def audit(self) -> SqlAuditTable:
        return self._audit

    @property
    @override
    def events(self) -> SqlEventTable:
        return self._events

    @property
    @override
    def webhooks(self) -> SqlWebhookTable:
        return self._webhooks

    @property
    @override
    def deliveries(self) -> SqlDeliveryTable:
        return self._deliveries

    @property
    @override
    def held(self) -> SqlHeldTable:
        return self._held

    @property
    @override
    def marks(self) -> SqlMarkTable:
        return self._marks

    @property
    @override
    def condemned(self) -> SqlCondemnedTable:
        return self._condemned

    @property
    @override
    def remains(self) -> SqlRemainsTable:
        return self._remains

    @property
    @override
    def inspection(self) -> SqlInspectionTable:
        return self._inspection

    @property
    @override
    def usage(self) -> SqlUsageTable:
        return self._usage

    @property
    @override
    def tallies(self) -> SqlTallyTable:
        return self._tallies

    @property
    @override
    def journal(self) -> SqlJournalTable:
        return self._journal

    @property
    @override
    def jobs(self) -> SqlJobTable:
        return self._jobs

    @property
    @override
    def expected(self) -> SqlExpectedTable:
        return self._expected

    @property
    @override
    def validations(self) -> SqlValidationTable:
        return self._validations

    @property
    @override
    def attestations(self) -> SqlAttestationTable:
        return self._attestations

    @property
    @override
    def validator_keys(self) -> SqlValidatorKeyTable:
        return self._validator_keys


class SqlDatabase(Database):
    """Transactions over an SQLite file or on PostgreSQL; safe to share between threads.

    Neither `read` nor `write` may be opened inside a `write` of the same thread.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        wait_s: float = LONGEST_WAIT_S,
        pool: int = DEFAULT_POOL,
        statement_s: int = DEFAULT_STATEMENT_S,
    ) -> None:
        """Take the database at `url`, as `sqlite:////srv/plait/plait.db`; connect on first use.

        Raises:
            InvalidInput: the URL is neither that of an SQLite file nor one of PostgreSQL.
        """
        self._limits = Limits(wait_s, pool, statement_s)
        self._engine = build_engine(url, self._limits)
        self._url = url
        self._wait_s = wait_s
        # SQLite lets waiting writers poll, and some of them starve: inside one process they queue.
        self._writer = threading.Lock() if self._engine.dialect.name == "sqlite" else None
        self.on_retry: Callable[[], None] | None = None
        """Hears of each transaction that lost against another one and runs again."""

    @classmethod
    def in_file(cls, path: Path) -> SqlDatabase:
        """Take the SQLite file at `path`, whatever characters its name has."""
        return cls(URL.create("sqlite", database=str(path.absolute())))

    @override
    @contextmanager
    def read(self) -> Generator[Records, None, None]:
        with translated_errors(), self._begun() as connection:
            yield SqlRecords(connection)

    @override
    @contextmanager
    def write(self) -> Generator[Records, None, None]:
        with translated_errors(), self._write() as records:
            yield records

    @override
    def transact(self, work: Callable[[Records], T]) -> T:
        try:
            with self._write() as records:
                return work(records)
        except SQLAlchemyError as error:
            if not may_win_alone(error):
                raise translate(error) from error
        if self.on_retry is not None:
            self.on_retry()
        # Others wait now, so that it cannot lose again, however long it takes.
        with translated_errors(), self._write(Access.WRITE_ALONE) as records:
            return work(records)

    @contextmanager
    def snapshot(self) -> Generator[tuple[Records, str], None, None]:
        """Open a consistent view of PostgreSQL, with the name by which others can share it.

        It may stay open for as long as it takes.
        """
        with translated_errors(), self._begun() as connection:
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            name = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
            yield SqlRecords(connection), name

    def migrate(self) -> None:
        """Bring the schema to this program's revision; does nothing where it is there.

        Any number of processes may call it at once: it is one transaction, and the others wait.

        Raises:
            Unavailable: the database belongs to a newer plait, or cannot be written.
        """
        with translated_errors():
            migrating.upgrade(self._url, self._limits)

    def schema_revision(self) -> str | None:
        """Return the revision that the schema has; None where there is none yet."""
        with translated_errors(), self._begun() as connection:
            return migrating.read_revision(connection)

    def check(self) -> None:
        """Answer one trivial query.

        Raises:
            Unavailable: the database does not answer, or has no schema.
        """
        with translated_errors(), self._begun() as connection:
            connection.execute(select(tables.repositories.c.id).limit(1)).all()

    def close(self) -> None:
        """Close all connections; the last one folds SQLite's WAL into the file."""
        self._engine.dispose()

    @contextmanager
    def _begun(self, access: Access = Access.READ) -> Generator[Connection]:
        """Run a block in a transaction, and let the driver's errors out as they are."""
        with self._engine.connect() as connection, begin(connection, access):
            yield connection

    @contextmanager
    def _write(self, access: Access = Access.WRITE) -> Generator[Records]:
        with self._turn(), self._begun(access) as connection:
            yield SqlRecords(connection)

    @contextmanager
    def _turn(self) -> Generator[None]:
        if self._writer is None:
            yield
            return
        if not self._writer.acquire(timeout=self._wait_s):
            raise busy()
        try:
            yield
        finally:
            self._writer.release()
