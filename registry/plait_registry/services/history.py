"""Reading history: revisions, the log, single commits and merge bases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.model.commit_graph import Walk, find_merge_bases
from plait.model.ids import CommitId, parse_commit_id
from plait.model.revision import resolve_revision
from plait_registry.domain.access import Caller, Right
from plait_registry.domain.ports import Database, Records
from plait_registry.domain.records import CommitRow, NoteRow, RepositoryRecord
from plait_registry.services.access import find_repository, get_commit
from plait_registry.services.commit_source import RecordsSource
from plait_registry.services.limits import count_on_page

LONGEST_CURSOR = 65_536


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which part of the log to read."""

    revision: str
    exclude: tuple[str, ...]
    """Commit ids whose history is left out; those that are not here are ignored."""
    limit: int
    cursor: str | None
    """Where an earlier page ended; `revision` and `exclude` do not matter then."""


@dataclass(frozen=True, slots=True)
class LogPage:
    """A part of the log."""

    commits: Sequence[CommitRow]
    notes: Mapping[CommitId, Sequence[NoteRow]]
    next: str | None


class ReadHistory:
    """Answers questions about the commits of a repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def resolve(self, caller: Caller, name: RepositoryName, revision: str) -> CommitRow:
        """Return the commit that `revision` names.

        Raises:
            NotFound: `revision-not-found`.
            InvalidInput: `invalid-revision`, `revision-ambiguous`.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            commit = resolve_revision(revision, RecordsSource(records, repository))
            return records.commits.load(repository.id, [commit])[commit]

    def log(self, caller: Caller, name: RepositoryName, query: LogQuery) -> LogPage:
        """Return a page of the log, every commit before its ancestors.

        The work is that of one page, however long history is. A page whose commits have very many
        notes ends early, so that it has fewer commits than asked for; the next one goes on there.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            walk = _start(records, repository, query)
            ids = [node.id for node in islice(walk, query.limit)]
            room = count_on_page(ids, records.tallies.measure_notes(repository.id, ids))
            if room < len(ids):
                # Walked again, since a walk that went too far cannot tell where it was.
                walk = _start(records, repository, query)
                ids = [node.id for node in islice(walk, room)]
            rows = records.commits.load(repository.id, ids)
            notes = records.commits.load_notes(repository.id, ids)
            return LogPage([rows[commit] for commit in ids], notes, _write_cursor(walk))

    def commit(
        self, caller: Caller, name: RepositoryName, commit: CommitId
    ) -> tuple[CommitRow, Sequence[NoteRow]]:
        """Return a commit and its notes.

        Raises:
            NotFound: `commit-not-found`.
        """
        with self._database.read() as records:
            repository = find_repository(records, caller, name, Right.READ)
            row = get_commit(records, repository, commit)
            return row, records.commits.load_notes(repository.id, [commit]).get(commit, ())

    def merge_bases(
        self, caller: Caller, name: RepositoryName, left: str, right: str
    ) -> list[CommitId]:
        """Return the best common ancestors of two revisions."""
        with self._database.read() as records:
            source = RecordsSource(records, find_repository(records, caller, name, Right.READ))
            return find_merge_bases(
                source, resolve_revision(left, source), resolve_revision(right, source)
            )


def _start(records: Records, repository: RepositoryRecord, query: LogQuery) -> Walk:
    source = RecordsSource(records, repository, depth=query.limit)
    if query.cursor is not None:
        wanted, hidden = _read_cursor(query.cursor)
        return Walk(source, wanted, hidden=hidden)
    excluded = [parse_commit_id(text) for text in query.exclude]
    known = records.commits.load(repository.id, excluded) if excluded else {}
    return Walk(source, [resolve_revision(query.revision, source)], hidden=sorted(known))


def _write_cursor(walk: Walk) -> str | None:
    if not walk.frontier:
        return None
    return ",".join(walk.frontier) + "!" + ",".join(walk.hidden_frontier)


def _read_cursor(cursor: str) -> tuple[list[CommitId], list[CommitId]]:
    wanted, mark, hidden = cursor.partition("!")
    if not mark or len(cursor) > LONGEST_CURSOR:
        raise InvalidInput("invalid-input", "The cursor is not one that this registry gave.")
    return (
        [parse_commit_id(text) for text in wanted.split(",") if text],
        [parse_commit_id(text) for text in hidden.split(",") if text],
    )
