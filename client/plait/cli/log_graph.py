r"""Drawing a commit graph in text, as `git log --graph` does.

Commits come one by one, each before its parents. A lane is a column in which a commit is awaited;
each commit is awaited in one lane at most, so that lines that lead to it are joined as early as
possible.

    *    a commit in its lane
    |    a lane that goes straight down
    \    from the lane to the left above to the one to the right below
    /    from the lane to the right above to the one to the left below

A line that has to cross others takes one lane a row. Two lines never share a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

Id = TypeVar("Id")


class LogGraph(Generic[Id]):
    """The lanes while commits come in."""

    def __init__(self) -> None:
        self._lanes: list[Id] = []
        self._root_at: int | None = None
        """The lane of the commit that was drawn last, if it had no parent and no row follows it."""

    def draw(self, commit: Id, parents: Sequence[Id]) -> tuple[list[str], str]:
        """Return the rows of a commit and what goes before each further line of its text.

        The first row that holds `*` is the commit's own; one may come before it.
        """
        rows = []
        if commit not in self._lanes:
            # Below a root in the same lane it would look like the root's parent.
            if self._root_at == len(self._lanes):
                rows.append(_straight(len(self._lanes)))
            self._lanes.append(commit)
        lane = self._lanes.index(commit)
        rows.append(_row(len(self._lanes), {2 * lane: "*"}))
        before = len(rows)
        new = [parent for parent in parents[1:] if parent not in self._lanes]
        known = [parent for parent in parents[1:] if parent in self._lanes]
        for parent in known:
            rows += self._cross(lane, self._lanes.index(parent))
        for parent in reversed(new):
            rows.append(_shifted(len(self._lanes), after=lane, by=1))
            self._lanes.insert(lane + 1, parent)
        rows += self._continue(lane, parents[0] if parents else None)
        self._root_at = lane if not parents and len(rows) == before else None
        return rows, _straight(len(self._lanes))

    def _continue(self, lane: int, parent: Id | None) -> list[str]:
        """Let the commit's own lane lead to its first parent."""
        if parent is None:
            del self._lanes[lane]
            return self._close(lane)
        if parent not in self._lanes:
            self._lanes[lane] = parent
            return []
        other = self._lanes.index(parent)
        left, right = min(lane, other), max(lane, other)
        # Of two lanes to one commit the right one ends in the left one, and the rest closes up.
        self._lanes[left] = parent
        del self._lanes[right]
        rows = [_shifted(len(self._lanes) + 1, after=right - 1, by=-1)]
        crossing = range(right - 1, left, -1)
        return rows + [_row(len(self._lanes), {2 * at - 1: "/"}) for at in crossing]

    def _close(self, lane: int) -> list[str]:
        if lane == len(self._lanes):
            return []
        row = _shifted(len(self._lanes) + 1, after=lane, by=-1)
        return [row[: 2 * lane] + " " + row[2 * lane + 1 :]]

    def _cross(self, lane: int, other: int) -> list[str]:
        """Draw a line from a lane that goes on to another one that does, too."""
        count = len(self._lanes)
        if other > lane:
            return [_row(count, {2 * at + 1: "\\"}) for at in range(lane, other)]
        return [_row(count, {2 * at - 1: "/"}) for at in range(lane, other, -1)]


def _straight(lanes: int) -> str:
    return _row(lanes, {})


def _row(lanes: int, marks: dict[int, str]) -> str:
    """Return a row of lanes that go straight down, with some places marked otherwise."""
    width = max([2 * lanes - 1, *(place + 1 for place in marks)])
    places = ["|" if place % 2 == 0 and place < 2 * lanes else " " for place in range(width)]
    for place, mark in marks.items():
        places[place] = mark
    return "".join(places).rstrip()


def _shifted(lanes: int, *, after: int, by: int) -> str:
    """Return a row in which every lane right of `after` goes one lane to the right or the left.

    To the right, a line from `after` takes the lane that is set free.
    """
    marks = {2 * lane: "|" for lane in range(after + 1)}
    moving = range(after, lanes) if by > 0 else range(after + 1, lanes)
    marks |= {2 * lane + by: "\\" if by > 0 else "/" for lane in moving}
    width = max(marks, default=-1) + 1
    return "".join(marks.get(place, " ") for place in range(width))
