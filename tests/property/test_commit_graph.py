from hypothesis import given, settings
from hypothesis import strategies as st

from plait.model.commit_graph import Walk, find_merge_bases, is_ancestor
from plait.model.ids import CommitId
from reference.histories import History, histories


def choose(draw: st.DataObject, history: History, most: int) -> list[CommitId]:
    return draw.draw(st.lists(st.sampled_from(history.ids), max_size=most))


@given(history=histories(), data=st.data())
def test_walk_yields_what_is_reached_and_not_hidden_newest_first(
    history: History, data: st.DataObject
) -> None:
    tips, hidden = choose(data, history, 4), choose(data, history, 3)
    expected = history.list_newest_first(history.reach(tips) - history.reach(hidden))
    assert [node.id for node in Walk(history, tips, hidden=hidden)] == expected


@given(history=histories(), data=st.data())
def test_every_commit_comes_before_its_ancestors(history: History, data: st.DataObject) -> None:
    seen: set[CommitId] = set()
    for node in Walk(history, choose(data, history, 4)):
        assert not seen & set(node.parents)
        seen.add(node.id)


@given(history=histories(), data=st.data())
def test_walk_can_stop_anywhere_and_go_on_from_its_frontier(
    history: History, data: st.DataObject
) -> None:
    tips, hidden = choose(data, history, 4), choose(data, history, 3)
    whole = [node.id for node in Walk(history, tips, hidden=hidden)]
    for cut in range(len(whole) + 1):
        first = Walk(history, tips, hidden=hidden)
        steps = iter(first)
        begun = [next(steps).id for _ in range(cut)]
        rest = Walk(history, first.frontier, hidden=first.hidden_frontier)
        assert begun + [node.id for node in rest] == whole


@given(history=histories(), data=st.data())
def test_walk_continued_after_every_commit_loads_no_more_than_the_graph(
    history: History, data: st.DataObject
) -> None:
    tips = choose(data, history, 4)
    history.loads = 0
    yielded = list(Walk(history, tips))
    assert history.loads <= len(yielded) + 1


@settings(max_examples=300)
@given(history=histories(), data=st.data())
def test_merge_bases_are_those_of_the_definition(history: History, data: st.DataObject) -> None:
    left = data.draw(st.sampled_from(history.ids))
    right = data.draw(st.sampled_from(history.ids))
    expected = history.list_merge_bases(left, right)
    history.loads = 0
    assert find_merge_bases(history, left, right) == expected
    assert history.loads <= len(history.ids) + 1
    assert find_merge_bases(history, right, left) == expected


@given(history=histories(), data=st.data())
def test_ancestor_is_what_lies_in_the_history(history: History, data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(history.ids))
    for other in history.ids:
        history.loads = 0
        assert is_ancestor(history, one, other) == (one in history.reach([other]))
        assert history.loads <= history.nodes[other].generation + 1
