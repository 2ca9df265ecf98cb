"""The commit graph and the refs of one repository, as `plait.model` wants to see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from plait.errors import InvalidInput
from plait.model.commit_graph import Node
from plait.model.ids import CommitId
from plait.model.refs import HEAD, RefName, parse_ref_name
from plait_registry.domain.ports import Records
from plait_registry.domain.records import RepositoryRecord

FIRST_DEPTH = 16
"""How many steps back the first load reaches: most questions are about what is new."""
GROWTH = 4
LARGEST_DEPTH = 512
"""How far the later ones reach, so that a long walk takes few of them."""


class RecordsSource:
    """Answers revisions and walks from the records of one transaction."""

    def __init__(
        self, records: Records, repository: RepositoryRecord, *, depth: int = FIRST_DEPTH
    ) -> None:
        """Take the number of steps that the caller expects to walk, where it knows it."""
        self._records = records
        self._repository = repository
        self._depth = depth

    def load(self, commits: Collection[CommitId]) -> Mapping[CommitId, Node]:
        """Return nodes with a part of their ancestry, a larger one at every call."""
        depth = self._depth
        self._depth = min(depth * GROWTH, LARGEST_DEPTH)
        return self._records.commits.load_ancestry(self._repository.id, commits, depth)

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
