"""Reading local history: the log, and the merge bases of two revisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plait.model.commit import Commit
from plait.model.commit_graph import Walk, find_merge_bases
from plait.model.ids import CommitId
from plait.working_copy.copy import WorkingCopy


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A commit of the log."""

    id: CommitId
    commit: Commit


def read_log(
    copy: WorkingCopy, revisions: Sequence[str] = (), *, every_ref: bool = False
) -> Iterator[LogEntry]:
    """Yield what the revisions reach, or what is checked out, each commit before its ancestors.

    Only what is taken from the iterator is read.

    Raises:
        NotFound: a revision names nothing.
    """
    tips = [copy.resolve(revision) for revision in revisions]
    if every_ref:
        head = copy.find_head_commit()
        tips += sorted(copy.read_refs().targets()) + ([] if head is None else [head])
    elif not tips:
        tips.append(copy.get_head_commit())
    return (LogEntry(node.id, copy.get_commit(node.id)) for node in Walk(copy.graph, tips))


def read_merge_bases(copy: WorkingCopy, left: str, right: str) -> list[CommitId]:
    """Return the best common ancestors of two revisions; none where they are unrelated."""
    return find_merge_bases(copy.graph, copy.resolve(left), copy.resolve(right))
