"""Skip pointers over first parents: `main~500` in a handful of steps.

Every commit keeps, besides its first parent, one `skip` ancestor, chosen so that the lengths of
the jumps form a skew-binary number (E. W. Myers, "An applicative random-access stack", 1983). Any
ancestor is then reached in at most 3 log2(n) steps, an insertion looks at three commits, and
a pointer never changes: it fits an append-only graph, where a table of binary lifting would need
log n rows a commit.
"""

from __future__ import annotations

from dataclasses import dataclass

from plait.model.ids import CommitId


@dataclass(frozen=True, slots=True)
class Link:
    """A commit in its chain of first parents."""

    id: CommitId
    depth: int
    """Number of first-parent ancestors; 0 for a root."""
    skip: CommitId | None
    """Where its own jump leads; None for a root."""


def choose_skip(parent: Link, landing: Link, beyond: Link) -> CommitId:
    """Return the skip pointer of a new commit on top of `parent`.

    `landing` is where the parent's jump leads and `beyond` where the jump after it leads; a root
    stands for both where there is none. Two jumps of one length join into a longer one; else a
    new run of single steps begins.
    """
    if parent.depth - landing.depth == landing.depth - beyond.depth:
        return beyond.id
    return parent.id
