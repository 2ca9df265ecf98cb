"""Which repositories the journal of refs has yet to hear of."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update
from typing_extensions import override

from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.model.refs import Ref, RefKind, RefName
from plait.model.repository_kind import RepositoryKind
from plait_registry.adapters.sql.dialect import insert_new
from plait_registry.adapters.sql.garbage_tables import repository_versions
from plait_registry.adapters.sql.tables import refs, repositories, retired_tags
from plait_registry.domain.records import RepositoryId
from plait_registry.domain.ref_journal import JournalTable, RefSnapshot


class SqlJournalTable(JournalTable):
    """Versions and what they name, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def list_behind(self, limit: int) -> Sequence[str]:
        versions = repository_versions
        statement = select(versions.c.key).where(versions.c.journaled < versions.c.version)
        return self._connection.execute(statement.limit(limit)).scalars().all()

    @override
    def load_snapshot(self, key: str, at: str) -> RefSnapshot:
        sequence = self._connection.execute(
            select(repository_versions.c.version).where(repository_versions.c.key == key)
        ).scalar_one()
        row = self._connection.execute(
            select(repositories).where(repositories.c.key == key)
        ).one_or_none()
        if row is None:
            return RefSnapshot(RepositoryName.parse(key), sequence, at, deleted=True)
        found = self._connection.execute(
            select(refs).where(refs.c.repository_id == row.id).order_by(refs.c.kind, refs.c.name)
        )
        retired = self._connection.execute(
            select(retired_tags.c.name)
            .where(retired_tags.c.repository_id == row.id)
            .order_by(retired_tags.c.name)
        )
        return RefSnapshot(
            name=RepositoryName(row.namespace, row.name),
            sequence=sequence,
            at=at,
            description=row.description,
            private=row.private,
            refs=tuple(
                Ref(RefKind(it.kind), RefName(it.name), CommitId(it.target)) for it in found
            ),
            retired=tuple(map(RefName, retired.scalars())),
            kind=RepositoryKind(row.kind),
        )

    @override
    def retire(self, repository: RepositoryId, names: Sequence[str]) -> None:
        rows = [{"repository_id": repository, "name": name} for name in names]
        insert_new(self._connection, retired_tags, rows)

    @override
    def set_journaled(self, key: str, sequence: int) -> None:
        self._connection.execute(
            update(repository_versions)
            .where(repository_versions.c.key == key, repository_versions.c.journaled < sequence)
            .values(journaled=sequence)
        )
