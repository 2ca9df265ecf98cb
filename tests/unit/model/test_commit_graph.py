import time

import pytest

from plait.errors import NotFound
from plait.model.commit_graph import Node, Walk, find_merge_bases, get_nodes, is_ancestor
from plait.model.ids import CommitId, hash_bytes
from reference.histories import History

UNKNOWN = CommitId(hash_bytes(b"unknown"))


def line(length: int, *, extra: int = 0) -> History:
    return History([[number - 1] if number else [] for number in range(length)], extra=extra)


def walk(history: History, tips: list[int], hidden: list[int] | None = None) -> list[int]:
    ids = history.ids
    nodes = Walk(history, [ids[t] for t in tips], hidden=[ids[h] for h in hidden or []])
    return [ids.index(node.id) for node in nodes]


def bases(history: History, left: int, right: int) -> list[int]:
    found = find_merge_bases(history, history.ids[left], history.ids[right])
    return sorted(map(history.ids.index, found))


def test_walk_goes_from_a_tip_to_the_root() -> None:
    assert walk(line(5), [4]) == [4, 3, 2, 1, 0]


def test_walk_meets_every_commit_once_and_before_its_parents() -> None:
    #   0 - 1 - 3 - 4      (4 merges 3 and 2)
    #     \ 2 -----/
    history = History([[], [0], [0], [1], [3, 2]])
    assert walk(history, [4]) == [4, 3, 1, 2, 0] or walk(history, [4]) == [4, 3, 2, 1, 0]
    assert walk(history, [3, 2, 3]) in ([3, 1, 2, 0], [3, 2, 1, 0])


def test_walk_leaves_out_what_hidden_commits_reach() -> None:
    history = History([[], [0], [0], [1], [3, 2]])
    assert walk(history, [4], [3]) == [4, 2]
    assert walk(history, [4], [4]) == []
    assert walk(history, [1], [4]) == []
    assert walk(history, [4, 1], [2, 1, 2]) == [4, 3]


def test_walk_over_nothing_ends_at_once() -> None:
    assert walk(line(1), []) == []
    assert walk(line(3), [], [2]) == []


def test_walk_stops_loading_where_only_hidden_commits_are_left() -> None:
    history = line(1_000)
    assert walk(history, [999], [996]) == [999, 998, 997]
    assert history.loads < 10


def test_frontier_is_empty_at_the_end() -> None:
    history = line(3)
    steps = Walk(history, [history.ids[2]])
    assert list(steps.frontier) == [history.ids[2]]
    assert len(list(steps)) == 3
    assert not steps.frontier
    assert not steps.hidden_frontier


def test_unknown_commit_is_not_found() -> None:
    history = line(2)
    for ask in (
        lambda: Walk(history, [UNKNOWN]),
        lambda: find_merge_bases(history, history.ids[0], UNKNOWN),
        lambda: is_ancestor(history, UNKNOWN, history.ids[0]),
        lambda: is_ancestor(history, history.ids[0], UNKNOWN),
    ):
        with pytest.raises(NotFound, match="is not here") as caught:
            ask()
        assert caught.value.kind == "commit-not-found"


def test_nodes_are_loaded_once() -> None:
    history = line(3)
    loaded: dict[CommitId, Node] = {}
    for _ in range(2):
        nodes = get_nodes(history, loaded, [history.ids[1]] * 2)
        assert [node.id for node in nodes] == [history.ids[1]] * 2
    assert history.loads == 1


def test_merge_base_of_a_commit_and_its_ancestor_is_the_ancestor() -> None:
    assert bases(line(9), 8, 3) == [3]
    assert bases(line(9), 3, 8) == [3]
    assert bases(line(9), 5, 5) == [5]


def test_crossing_merges_have_two_merge_bases() -> None:
    assert bases(History([[], [0], [0], [1, 2], [2, 1]]), 3, 4) == [1, 2]


def test_search_for_merge_bases_stops_where_only_their_ancestors_are_left() -> None:
    history = History(
        [*([[number - 1] if number else [] for number in range(1_000)]), [999], [999]]
    )
    assert bases(history, 1_000, 1_001) == [999]
    assert history.loads < 10


def test_unrelated_histories_have_no_merge_base() -> None:
    history = History([[], [], [0], [1]])
    assert bases(history, 2, 3) == []
    assert not is_ancestor(history, history.ids[0], history.ids[3])


def test_ancestry_is_told_both_ways() -> None:
    history = History([[], [0], [0], [1, 2]])
    ids = history.ids
    assert is_ancestor(history, ids[2], ids[3])
    assert is_ancestor(history, ids[3], ids[3])
    assert not is_ancestor(history, ids[3], ids[2])
    assert not is_ancestor(history, ids[1], ids[2])


def test_generous_source_is_asked_a_few_times_whatever_the_length_of_history() -> None:
    history = line(10_000, extra=1_000)
    first, last = history.ids[0], history.ids[-1]
    assert is_ancestor(history, first, last)
    assert len(list(Walk(history, [last]))) == 10_000
    assert find_merge_bases(history, first, last) == [first]
    assert history.loads < 50


def test_ancestry_stops_at_the_generation_of_the_ancestor() -> None:
    history = line(10_000)
    assert is_ancestor(history, history.ids[-3], history.ids[-1])
    history.loads = 0
    side = History([*([[number - 1] if number else [] for number in range(10_000)]), [9_996]])
    assert not is_ancestor(side, side.ids[-1], side.ids[-2])
    assert side.loads < 10


def test_wide_history_is_walked_in_linear_time() -> None:
    width = 3_000
    parents: list[list[int]] = [[number] for number in range(-1, 2 * width - 1)]
    parents[0] = []
    parents += [[2 * number] for number in range(width)]  # a branch off every second commit
    history = History(parents, extra=10**9)
    tips = history.ids[2 * width :]
    started = time.perf_counter()
    nodes = list(Walk(history, tips[1::2], hidden=tips[::2]))
    assert 0 < len(nodes) < len(parents)
    assert find_merge_bases(history, tips[0], tips[-1]) == [history.ids[0]]
    assert time.perf_counter() - started < 20
