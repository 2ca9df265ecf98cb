"""Random histories, and the slow and obvious answers to questions about them."""

from collections.abc import Collection, Iterable, Mapping

from hypothesis import strategies as st

from plait.model.commit_graph import Node
from plait.model.ids import CommitId, hash_bytes


class History:
    """A commit graph in memory that counts how often it is asked.

    With `extra` it answers more than it was asked for: ancestors up to that many steps back.
    """

    def __init__(self, parents: Iterable[Collection[int]], *, extra: int = 0) -> None:
        self.nodes: dict[CommitId, Node] = {}
        self.ids: list[CommitId] = []
        self.loads = 0
        self._extra = extra
        for number, indices in enumerate(parents):
            above = [self.nodes[self.ids[index]] for index in indices]
            commit = CommitId(hash_bytes(b"commit %d" % number))
            # Few different times, out of order: clocks are wrong, and ids must break ties.
            time = f"2026-01-01T00:00:0{number * 7 % 3}Z"
            generation = 1 + max((node.generation for node in above), default=0)
            ids = tuple(node.id for node in above)
            self.nodes[commit] = Node(commit, ids, generation, time)
            self.ids.append(commit)

    def load(self, commits: Collection[CommitId]) -> Mapping[CommitId, Node]:
        self.loads += 1
        found = {commit: self.nodes[commit] for commit in commits if commit in self.nodes}
        level = list(found)
        for _ in range(self._extra):
            parents = {parent for commit in level for parent in self.nodes[commit].parents}
            level = [parent for parent in parents if parent not in found]
            found.update((commit, self.nodes[commit]) for commit in level)
            if not level:
                break
        return found

    def reach(self, tips: Iterable[CommitId]) -> set[CommitId]:
        """Return the tips and everything in their histories."""
        seen: set[CommitId] = set()
        pending = list(tips)
        while pending:
            commit = pending.pop()
            if commit not in seen:
                seen.add(commit)
                pending += self.nodes[commit].parents
        return seen

    def list_newest_first(self, commits: Iterable[CommitId]) -> list[CommitId]:
        """Return the commits by generation, time and id."""
        nodes = [self.nodes[commit] for commit in commits]
        nodes.sort(key=lambda node: (node.generation, node.time, node.id), reverse=True)
        return [node.id for node in nodes]

    def list_merge_bases(self, left: CommitId, right: CommitId) -> list[CommitId]:
        """Return the common ancestors that are in the history of no other one."""
        common = self.reach([left]) & self.reach([right])
        return sorted(
            one for one in common if not any(one in self.reach([o]) for o in common - {one})
        )


@st.composite
def histories(draw: st.DrawFn, most: int = 14) -> History:
    """A random graph of at least one commit, its answers short or generous."""
    parents: list[list[int]] = []
    for number in range(draw(st.integers(1, most))):
        above = range(max(0, number - 5), number)
        choices = (
            st.lists(st.sampled_from(above), max_size=3, unique=True) if above else st.just([])
        )
        parents.append(draw(choices))
    return History(parents, extra=draw(st.sampled_from([0, 1, 3, 100])))
