"""Commits, the graph that they make, and their notes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, case, insert, or_, select
from typing_extensions import override

from plait.model.commit_graph import Node
from plait.model.ids import CommitId, ManifestId
from plait_registry.adapters.sql.ancestry import ANCESTOR, ANCESTRY
from plait_registry.adapters.sql.dialect import batches, insert_new
from plait_registry.adapters.sql.tables import commit_parents, commits, notes, repository_commits
from plait_registry.adapters.sql.versions import advance_version
from plait_registry.domain.ports import CommitTable
from plait_registry.domain.records import CommitRow, NoteRow, RepositoryId

_AFTER_HEX = "g"
"""The character after the last hexadecimal digit, which ends the range of a prefix."""


def _select_commits() -> Select[Any]:
    """Select `commits` of `repository`, a row a parent; only the first row carries the body."""
    position = commit_parents.c.position
    columns = [column for column in commits.c if column is not commits.c.body]
    body = case((or_(position.is_(None), position == 0), commits.c.body))
    return (
        select(*columns, body.label("body"), commit_parents.c.parent)
        .select_from(
            repository_commits.join(
                commits, commits.c.id == repository_commits.c.commit_id
            ).outerjoin(commit_parents, commit_parents.c.commit_id == commits.c.id)
        )
        .where(
            repository_commits.c.repository_id == bindparam("repository"),
            repository_commits.c.commit_id.in_(bindparam("commits", expanding=True)),
        )
        .order_by(commits.c.id, position)
    )


_COMMITS = _select_commits()
_BY_PREFIX = (
    select(repository_commits.c.commit_id)
    .where(
        repository_commits.c.repository_id == bindparam("repository"),
        repository_commits.c.commit_id >= bindparam("first"),
        repository_commits.c.commit_id < bindparam("after"),
    )
    .order_by(repository_commits.c.commit_id)
    .limit(2)
)
_NOTES = (
    select(notes)
    .where(
        notes.c.repository_id == bindparam("repository"),
        notes.c.commit_id.in_(bindparam("commits", expanding=True)),
    )
    .order_by(notes.c.id)
)


class SqlCommitTable(CommitTable):
    """Commits in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def insert(self, repository: RepositoryId, commits: Sequence[CommitRow]) -> None:
        insert_commits(self._connection, repository, commits)

    @override
    def load(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, CommitRow]:
        found: dict[CommitId, CommitRow] = {}
        for batch in batches(commits):
            rows = self._connection.execute(_COMMITS, {"repository": repository, "commits": batch})
            for _, group in groupby(rows, key=attrgetter("id")):
                commit = read_commit(list(group))
                found[commit.id] = commit
        return found

    @override
    def load_ancestry(
        self, repository: RepositoryId, commits: Collection[CommitId], depth: int
    ) -> Mapping[CommitId, Node]:
        found: dict[CommitId, Node] = {}
        for batch in batches(commits):
            rows = self._connection.execute(
                ANCESTRY, {"repository": repository, "commits": batch, "depth": depth}
            )
            for key, group in groupby(rows, key=lambda row: (row.id, row.generation, row.time)):
                commit, generation, time = key
                found[commit] = Node(
                    commit, _read_parents(row.parent for row in group), generation, time
                )
        return found

    @override
    def find_by_prefix(self, repository: RepositoryId, prefix: str) -> Sequence[CommitId]:
        given = {"repository": repository, "first": prefix, "after": prefix + _AFTER_HEX}
        return self._connection.execute(_BY_PREFIX, given).scalars().all()

    @override
    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        given = {"commit": commit, "generations": generations}
        return self._connection.execute(ANCESTOR, given).scalar_one_or_none()

    @override
    def insert_notes(self, repository: RepositoryId, notes: Sequence[NoteRow]) -> None:
        insert_notes(self._connection, repository, notes)

    @override
    def load_notes(
        self, repository: RepositoryId, commits: Collection[CommitId]
    ) -> Mapping[CommitId, Sequence[NoteRow]]:
        found: dict[CommitId, list[NoteRow]] = {}
        for batch in batches(commits):
            rows = self._connection.execute(_NOTES, {"repository": repository, "commits": batch})
            for row in rows:
                note = NoteRow(CommitId(row.commit_id), row.kind, row.body, row.created_at)
                found.setdefault(note.commit, []).append(note)
        return found


def insert_commits(
    connection: Connection, repository: RepositoryId, rows: Sequence[CommitRow]
) -> None:
    """Insert those commits that are new, and say that the repository holds all of them."""
    insert_new(connection, commits, [_write_commit(row) for row in rows])
    insert_new(
        connection,
        commit_parents,
        [
            {"commit_id": row.id, "position": position, "parent": parent}
            for row in rows
            for position, parent in enumerate(row.parents)
        ],
    )
    insert_new(
        connection,
        repository_commits,
        [{"repository_id": repository, "commit_id": row.id} for row in rows],
    )
    if rows:
        advance_version(connection, repository)


def insert_notes(connection: Connection, repository: RepositoryId, rows: Sequence[NoteRow]) -> None:
    """Insert notes, in order."""
    values = [
        {
            "repository_id": repository,
            "commit_id": row.commit,
            "kind": row.kind,
            "body": dict(row.body),
            "created_at": row.created_at,
        }
        for row in rows
    ]
    if values:
        connection.execute(insert(notes), values)


def _write_commit(row: CommitRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "generation": row.generation,
        "depth": row.depth,
        "first_parent": row.parents[0] if row.parents else None,
        "skip": row.skip,
        "time": row.time,
        "manifest_id": row.manifest,
        "adapter_type": row.adapter_type,
        "base": row.base,
        "size": row.size,
        "body": row.body,
    }


def read_commit(rows: Sequence[Row[Any]]) -> CommitRow:
    """Return the commit of its rows, one a parent."""
    first = rows[0]
    return CommitRow(
        id=CommitId(first.id),
        body=first.body,
        manifest=ManifestId(first.manifest_id),
        parents=_read_parents(row.parent for row in rows),
        generation=first.generation,
        depth=first.depth,
        skip=None if first.skip is None else CommitId(first.skip),
        time=first.time,
        adapter_type=first.adapter_type,
        base=first.base,
        size=first.size,
    )


def _read_parents(parents: Iterable[CommitId | None]) -> tuple[CommitId, ...]:
    return tuple(parent for parent in parents if parent is not None)
