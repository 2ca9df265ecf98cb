"""Walks over the commit graph, shared by the registry and the offline working copy.

The graph is reached through `CommitSource.load`, which returns many nodes at once and may return
more than was asked for, so that a walk costs a few loads whatever the length of history.

Order: by generation (one more than the highest of the parents), then by time, then by id, newest
first. A commit therefore always comes before its ancestors, and the frontier of a walk is all
that is needed to continue it (git's commit-graph format, "generation numbers").
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol

from plait.errors import NotFound
from plait.model.ids import CommitId, abbreviate


@dataclass(frozen=True, slots=True)
class Node:
    """A commit as the graph sees it."""

    id: CommitId
    parents: tuple[CommitId, ...]
    generation: int
    """1 for a root, else one more than the highest of the parents."""
    time: str


class CommitSource(Protocol):
    """Where nodes come from."""

    def load(self, commits: Collection[CommitId]) -> Mapping[CommitId, Node]:
        """Return the nodes of `commits` and, at will, of their ancestors."""


class _Side(IntFlag):
    """Which tip a commit was reached from."""

    LEFT = 1
    RIGHT = 2
    STALE = 4  # an ancestor of a common ancestor: no longer a best one


class Walk:
    """A walk from tips to roots in the order of the module, without what `hidden` reaches.

    A walk that stopped goes on from its `frontier` and `hidden_frontier`: they are all of its
    state, since a commit always comes before its ancestors.
    """

    def __init__(
        self, source: CommitSource, tips: Iterable[CommitId], *, hidden: Iterable[CommitId] = ()
    ) -> None:
        self._source = source
        self._loaded: dict[CommitId, Node] = {}
        self._queue: list[_QueueItem] = []
        self._hidden: dict[CommitId, bool] = {}
        """Every queued commit, and whether something hidden reaches it."""
        self._visible = 0
        """How many of them are not hidden; the walk ends with the last one."""
        starts = list(tips), list(hidden)
        get_nodes(source, self._loaded, [*starts[0], *starts[1]])  # in one load
        self._push(starts[0], hidden=False)
        self._push(starts[1], hidden=True)

    def __iter__(self) -> Iterator[Node]:
        while self._visible:
            node = heapq.heappop(self._queue).node
            hidden = self._hidden.pop(node.id)
            self._visible -= not hidden
            self._push(node.parents, hidden=hidden)
            if not hidden:
                yield node

    @property
    def frontier(self) -> tuple[CommitId, ...]:
        """The commits that come next; empty at the end."""
        return tuple(sorted(commit for commit, hidden in self._hidden.items() if not hidden))

    @property
    def hidden_frontier(self) -> tuple[CommitId, ...]:
        """The commits from which on everything stays hidden."""
        return tuple(sorted(commit for commit, hidden in self._hidden.items() if hidden))

    def _push(self, commits: Iterable[CommitId], *, hidden: bool) -> None:
        for node in get_nodes(self._source, self._loaded, commits):
            if node.id not in self._hidden:
                heapq.heappush(self._queue, _QueueItem(node))
                self._hidden[node.id] = hidden
                self._visible += not hidden
            elif hidden and not self._hidden[node.id]:
                self._hidden[node.id] = True
                self._visible -= 1


def get_nodes(
    source: CommitSource, loaded: dict[CommitId, Node], commits: Iterable[CommitId]
) -> list[Node]:
    """Return the nodes of `commits`, loading those that are not in `loaded` yet.

    Raises:
        NotFound: a commit is not there.
    """
    wanted = list(commits)
    missing = [commit for commit in wanted if commit not in loaded]
    if missing:
        loaded.update(source.load(missing))
    for commit in missing:
        if commit not in loaded:
            raise NotFound("commit-not-found", f"The commit {abbreviate(commit)} is not here.")
    return [loaded[commit] for commit in wanted]


def find_merge_bases(source: CommitSource, left: CommitId, right: CommitId) -> list[CommitId]:
    """Return the best common ancestors: those that are no ancestor of another one.

    The walk paints each commit with the tips that reach it and stops as soon as only ancestors
    of common ancestors are left (git's `paint_down_to_common`). Sorted by id; empty where the
    histories are unrelated.
    """
    if left == right:
        return [left]
    loaded: dict[CommitId, Node] = {}
    colours: dict[CommitId, _Side] = {left: _Side.LEFT, right: _Side.RIGHT}
    queue = [_QueueItem(node) for node in get_nodes(source, loaded, (left, right))]
    heapq.heapify(queue)
    fresh = {left, right}  # queued, and not stale
    bases: list[CommitId] = []
    while fresh:
        node = heapq.heappop(queue).node
        fresh.discard(node.id)
        colour = colours[node.id]
        if colour == _Side.LEFT | _Side.RIGHT:
            bases.append(node.id)
            colour |= _Side.STALE
        for parent in get_nodes(source, loaded, node.parents):
            if parent.id not in colours:
                colours[parent.id] = colour
                heapq.heappush(queue, _QueueItem(parent))
                fresh.add(parent.id)
            colours[parent.id] |= colour
            if colours[parent.id] & _Side.STALE:
                fresh.discard(parent.id)
    return sorted(bases)


def is_ancestor(source: CommitSource, ancestor: CommitId, descendant: CommitId) -> bool:
    """Tell whether `ancestor` is `descendant` or lies in its history."""
    loaded: dict[CommitId, Node] = {}
    (goal,) = get_nodes(source, loaded, (ancestor,))
    seen = {descendant}
    pending = [descendant]
    while pending:
        nodes = get_nodes(source, loaded, pending)
        pending = []
        for node in nodes:
            if node.id == ancestor:
                return True
            if node.generation <= goal.generation:
                continue
            for parent in node.parents:
                if parent not in seen:
                    seen.add(parent)
                    pending.append(parent)
    return False


class _QueueItem:
    """A node in a heap whose smallest item is the newest commit."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def __lt__(self, other: _QueueItem) -> bool:
        mine, theirs = self.node, other.node
        return (mine.generation, mine.time, mine.id) > (theirs.generation, theirs.time, theirs.id)
