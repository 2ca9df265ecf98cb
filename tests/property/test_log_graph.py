"""The drawing of random graphs, read back: every edge connects.

The picture is walked from every commit downwards as an eye would: a bar goes on below, a backslash
leads to the right below and a slash to the left below, until a line ends in a commit.
"""

from hypothesis import given, settings

from plait.cli.log_graph import LogGraph
from plait.model.commit_graph import Walk
from plait.model.ids import CommitId
from reference.histories import History, histories


class Picture:
    """The rows of a graph, and where its commits are."""

    def __init__(self, history: History) -> None:
        self.rows: list[str] = []
        self.place: dict[tuple[int, int], CommitId] = {}
        graph: LogGraph[CommitId] = LogGraph()
        for node in Walk(history, history.ids):
            rows, rest = graph.draw(node.id, node.parents)
            for row in [*rows, rest]:
                if "*" in row:
                    self.place[len(self.rows), row.index("*")] = node.id
                self.rows.append(row)

    def at(self, row: int, column: int) -> str:
        """Return the mark at a place."""
        line = self.rows[row] if row < len(self.rows) else ""
        return line[column] if 0 <= column < len(line) else " "

    def follow(self, row: int, column: int) -> set[CommitId]:
        """Return the commits that the lines from a place lead down to."""
        found: set[CommitId] = set()
        # A place on a lane is left straight down, or by a slash beside the lane in the row below.
        pending, seen = [(row, column)], {(row, column)}
        while pending:
            row, column = pending.pop()
            for mark, aside, end in (("|", 0, 0), ("*", 0, 0), ("\\", 1, 2), ("/", -1, -2)):
                if self.at(row + 1, column + aside) != mark:
                    continue
                below = (row + 1, column + end)
                if below in self.place:
                    found.add(self.place[below])
                elif below not in seen:
                    seen.add(below)
                    pending.append(below)
        return found


@given(history=histories(18))
def test_each_commit_is_drawn_once_and_above_its_parents(history: History) -> None:
    picture = Picture(history)
    assert sorted(picture.place.values()) == sorted(history.ids)
    assert sum(row.count("*") for row in picture.rows) == len(history.ids)
    rows = {commit: row for (row, _), commit in picture.place.items()}
    for node in history.nodes.values():
        assert all(rows[node.id] < rows[parent] for parent in node.parents)


@settings(max_examples=300)
@given(history=histories(18))
def test_lines_from_a_commit_lead_to_each_of_its_parents(history: History) -> None:
    picture = Picture(history)
    for (row, column), commit in picture.place.items():
        assert set(history.nodes[commit].parents) <= picture.follow(row, column)


@given(history=histories(18))
def test_rows_have_no_marks_but_those_of_lines_and_commits(history: History) -> None:
    picture = Picture(history)
    for row in picture.rows:
        assert set(row) <= set("*|/\\ ")
        assert row == row.rstrip()
    # Below the last commit nothing is left open.
    assert not picture.rows[-1]
