from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from plait.errors import InvalidInput, NotFound, PlaitError
from plait.model.ids import CommitId
from plait.model.revision import Revision, resolve_revision
from reference.histories import History, histories

steps = st.lists(st.tuples(st.sampled_from("~^"), st.none() | st.integers(0, 4)), max_size=4)


class Source:
    """A repository with `main` at the last commit of a random history."""

    def __init__(self, history: History) -> None:
        self._history = history

    def find_ref(self, name: str) -> CommitId | None:
        return self._history.ids[-1] if name in {"main", "HEAD"} else None

    def find_by_prefix(self, prefix: str) -> Sequence[CommitId]:
        return [commit for commit in self._history.ids if commit.startswith(prefix)][:2]

    def find_parents(self, commit: CommitId) -> tuple[CommitId, ...]:
        return self._history.nodes[commit].parents

    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        return follow(self._history, commit, [("~", generations)])


def follow(
    history: History, commit: CommitId, moves: Sequence[tuple[str, int | None]]
) -> CommitId | None:
    """Take every move by single steps."""
    for kind, count in moves:
        number = 1 if count is None else count
        wanted = [0] * number if kind == "~" else [number - 1] * (number > 0)
        for index in wanted:
            parents = history.nodes[commit].parents
            if index >= len(parents):
                return None
            commit = parents[index]
    return commit


@given(history=histories(), moves=steps, data=st.data())
def test_revision_leads_where_its_single_steps_lead(
    history: History, moves: list[tuple[str, int | None]], data: st.DataObject
) -> None:
    start = data.draw(st.sampled_from(history.ids))
    length = data.draw(st.integers(12, 64))
    tail = "".join(f"{kind}{'' if count is None else count}" for kind, count in moves)
    for anchor, commit in ((start[:length], start), ("main", history.ids[-1])):
        expected = follow(history, commit, moves)
        try:
            assert resolve_revision(anchor + tail, Source(history)) == expected
        except NotFound:
            assert expected is None


@given(text=st.text(max_size=20) | st.text("main@~^0123456789HEAD./-", max_size=20))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        revision = Revision.parse(text)
    except InvalidInput as error:
        error.message.encode()
        return
    assert revision.anchor
    tail = "".join(f"{step.kind}{step.count}" for step in revision.steps)
    assert Revision.parse(revision.anchor + tail) == revision


@given(text=st.text(max_size=20))
def test_any_text_resolves_or_says_why_not(text: str) -> None:
    source = Source(History([[]]))
    try:
        resolve_revision(text, source)
    except PlaitError as error:
        error.message.encode()
