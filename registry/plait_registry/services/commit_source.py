"""The commit graph and the refs of one repository, as `plait.model` wants to see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from plait.errors import InvalidInput
from plait.model.commit_graph import Node
from plait.model.ids import CommitId
from plait.model.refs import HEAD, RefName, parse_ref_name
from plait_registry.domain.ports import Records
from plait_registry.domain.records import RepositoryRecord

ANCESTRY_DEPTH = 128
"""How many steps back one load reaches, so that a page of the log costs one or two loads."""


class RecordsSource:
    """Answers revisions and walks from the records of one transaction."""

    def __init__(self, records: Records, repository: RepositoryRecord) -> None:
        self._records = records
        self._repository = repository

    def load(self, commits: Collection[CommitId]) -> Mapping[CommitId, Node]:
        """Return nodes with a good part of their ancestry."""
        return self._records.commits.load_ancestry(self._repository.id, commits, ANCESTRY_DEPTH)

    def find_ref(self, name: str) -> CommitId | None:
        """Return where a ref points; `HEAD` is the default branch."""
        if name == HEAD:
            return self._repository.head
        ref = self._records.refs.find(self._repository.id, _as_ref_name(name))
        return None if ref is None else ref.target

    def find_by_prefix(self, prefix: str) -> Sequence[CommitId]:
        """Return up to two commits whose ids begin with `prefix`."""
        return self._records.commits.find_by_prefix(self._repository.id, prefix)

    def find_parents(self, commit: CommitId) -> tuple[CommitId, ...]:
        """Return the parents of a commit of the repository."""
        return self._records.commits.load(self._repository.id, [commit])[commit].parents

    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        """Return the ancestor that many first parents back, or None."""
        return self._records.commits.find_ancestor(commit, generations)


def _as_ref_name(name: str) -> RefName:
    # A full commit id is no valid name, and so no ref's either.
    try:
        return parse_ref_name(name)
    except InvalidInput:
        return RefName("")
