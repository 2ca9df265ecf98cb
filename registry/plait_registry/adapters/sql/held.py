"""What repositories name and hold, for care of the data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, bindparam, delete, func, select, update
from typing_extensions import override

from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait_registry.adapters.sql.account_tables import namespaces
from plait_registry.adapters.sql.dialect import batches, insert_new
from plait_registry.adapters.sql.garbage_tables import expired_files, repository_versions
from plait_registry.adapters.sql.tables import (
    commit_parents,
    commits,
    files,
    notes,
    repositories,
    repository_commits,
    repository_files,
)
from plait_registry.adapters.sql.versions import advance_version
from plait_registry.domain.garbage import HeldCommit, HeldTable, KeptRepository
from plait_registry.domain.records import RepositoryId

_COMMITS = (
    select(
        commits.c.id,
        commits.c.generation,
        commits.c.manifest_id,
        repository_commits.c.added_at,
        commit_parents.c.parent,
    )
    .select_from(
        repository_commits.join(commits, commits.c.id == repository_commits.c.commit_id).outerjoin(
            commit_parents, commit_parents.c.commit_id == commits.c.id
        )
    )
    .where(repository_commits.c.repository_id == bindparam("repository"))
    .order_by(commits.c.id, commit_parents.c.position)
)


class SqlHeldTable(HeldTable):
    """What repositories hold, in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def list_repositories(self) -> Sequence[KeptRepository]:
        rows = self._connection.execute(
            select(
                repositories.c.id,
                repositories.c.namespace,
                repositories.c.name,
                namespaces.c.keep_untagged_days,
            )
            .select_from(
                repositories.outerjoin(
                    namespaces, namespaces.c.key == func.lower(repositories.c.namespace)
                )
            )
            .order_by(repositories.c.key)
        )
        return [
            KeptRepository(
                RepositoryId(row.id),
                RepositoryName(row.namespace, row.name),
                row.keep_untagged_days,
            )
            for row in rows
        ]

    @override
    def read_version(self, repository: RepositoryId) -> int:
        version = self._connection.execute(
            select(repository_versions.c.version)
            .join(repositories, repositories.c.key == repository_versions.c.key)
            .where(repositories.c.id == repository)
        ).scalar_one_or_none()
        return version or 0

    @override
    def raise_version(self, repository: RepositoryId, version: int) -> None:
        advance_version(self._connection, repository)
        key = select(repositories.c.key).where(repositories.c.id == repository)
        self._connection.execute(
            update(repository_versions)
            .where(
                repository_versions.c.key == key.scalar_subquery(),
                repository_versions.c.version < version,
            )
            .values(version=version)
        )

    @override
    def load_commits(self, repository: RepositoryId) -> Sequence[HeldCommit]:
        rows = self._connection.execute(_COMMITS, {"repository": repository})
        found = []
        for _, group in groupby(rows, key=attrgetter("id")):
            same = list(group)
            found.append(
                HeldCommit(
                    CommitId(same[0].id),
                    tuple(CommitId(row.parent) for row in same if row.parent is not None),
                    same[0].generation,
                    ManifestId(same[0].manifest_id),
                    same[0].added_at,
                )
            )
        return found

    @override
    def load_files(self, repository: RepositoryId) -> Mapping[ObjectId, int]:
        rows = self._connection.execute(
            select(files.c.sha256, files.c.size)
            .select_from(
                repository_files.join(files, files.c.sha256 == repository_files.c.file_sha256)
            )
            .where(repository_files.c.repository_id == repository)
        )
        return {ObjectId(row.sha256): row.size for row in rows}

    @override
    def date_commits(self, repository: RepositoryId, now: str) -> None:
        self._connection.execute(
            update(repository_commits)
            .where(
                repository_commits.c.repository_id == repository,
                repository_commits.c.added_at.is_(None),
            )
            .values(added_at=now)
        )

    @override
    def unlink_commits(self, repository: RepositoryId, commits: Collection[CommitId]) -> None:
        for batch in batches(commits):
            for table in (notes, repository_commits):
                self._connection.execute(
                    delete(table).where(
                        table.c.repository_id == repository, table.c.commit_id.in_(batch)
                    )
                )

    @override
    def unlink_files(self, repository: RepositoryId, files: Collection[ObjectId]) -> None:
        for batch in batches(files):
            self._connection.execute(
                delete(repository_files).where(
                    repository_files.c.repository_id == repository,
                    repository_files.c.file_sha256.in_(batch),
                )
            )

    @override
    def expire_files(self, repository: RepositoryId, files: Collection[ObjectId], now: str) -> None:
        rows = [
            {"repository_id": repository, "file_sha256": file, "expired_at": now} for file in files
        ]
        insert_new(self._connection, expired_files, rows)

    @override
    def find_expired(
        self, repository: RepositoryId, files: Collection[ObjectId]
    ) -> Mapping[ObjectId, str]:
        found: dict[ObjectId, str] = {}
        for batch in batches(files):
            rows = self._connection.execute(
                select(expired_files.c.file_sha256, expired_files.c.expired_at)
                .select_from(
                    expired_files.outerjoin(
                        repository_files,
                        (repository_files.c.repository_id == expired_files.c.repository_id)
                        & (repository_files.c.file_sha256 == expired_files.c.file_sha256),
                    )
                )
                .where(
                    expired_files.c.repository_id == repository,
                    expired_files.c.file_sha256.in_(batch),
                    repository_files.c.file_sha256.is_(None),
                )
            )
            found.update({ObjectId(row.file_sha256): row.expired_at for row in rows})
        return found
