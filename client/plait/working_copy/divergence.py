"""How a branch stands to its upstream, in commits."""

from __future__ import annotations

from dataclasses import dataclass

from plait.model.commit_graph import Walk
from plait.model.ids import CommitId
from plait.model.refs import RefName
from plait.working_copy.copy import WorkingCopy


@dataclass(frozen=True, slots=True)
class Divergence:
    """How a branch stands to its upstream, in commits."""

    upstream: RefName
    """A branch of the remote."""
    ahead: int
    behind: int

    def __str__(self) -> str:
        words = [f"ahead {self.ahead}"] if self.ahead else []
        words += [f"behind {self.behind}"] if self.behind else []
        return ", ".join(words)


def find_divergence(copy: WorkingCopy, branch: RefName) -> Divergence | None:
    """Return how a local branch stands to the remote's branch of its name, as last fetched."""
    refs = copy.read_refs()
    theirs = refs.remote_branches.get(branch)
    if theirs is None:
        return None
    ours = refs.branches.get(branch)
    if ours is None:
        return Divergence(branch, 0, count_commits(copy, theirs, without=None))
    return Divergence(
        branch,
        ahead=count_commits(copy, ours, without=theirs),
        behind=count_commits(copy, theirs, without=ours),
    )


def count_commits(copy: WorkingCopy, tip: CommitId, *, without: CommitId | None) -> int:
    """Return how many commits `tip` reaches that `without` does not."""
    hidden = () if without is None else (without,)
    return sum(1 for _ in Walk(copy.graph, (tip,), hidden=hidden))
