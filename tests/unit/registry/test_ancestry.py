"""Skip pointers: short ways to every ancestor, decided from three commits."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.model.ids import CommitId
from plait_registry.domain.ancestry import Link, choose_skip


def build_chain(count: int) -> list[Link]:
    """Return a chain of links; the id of each is its depth."""
    chain = [Link(CommitId("0"), 0, None)]
    for depth in range(1, count):
        parent = chain[-1]
        landing = jump(chain, parent)
        skip = choose_skip(parent, landing, jump(chain, landing))
        chain.append(Link(CommitId(str(depth)), depth, skip))
    return chain


def jump(chain: Sequence[Link], link: Link) -> Link:
    return link if link.skip is None else chain[int(link.skip)]


def count_steps(chain: Sequence[Link], start: int, target: int) -> int:
    """Walk as the database does: jump where the jump does not go too far, else one back."""
    steps, position = 0, start
    while position > target:
        landing = jump(chain, chain[position]).depth
        position = landing if landing >= target else position - 1
        steps += 1
    assert position == target
    return steps


CHAIN = build_chain(10_000)


def test_root_has_no_skip_and_its_child_skips_to_it() -> None:
    assert CHAIN[0].skip is None
    assert CHAIN[1].skip == "0"


def test_jumps_have_the_lengths_of_a_skew_binary_number() -> None:
    lengths = [link.depth - jump(CHAIN, link).depth for link in CHAIN[1:]]
    assert lengths[:16] == [1, 1, 3, 1, 1, 3, 7, 1, 1, 3, 1, 1, 3, 7, 15, 1]
    assert all((length + 1).bit_count() == 1 for length in lengths)


@pytest.mark.parametrize("start", [1, 500, 1_000, 8_191, 9_999])
def test_every_ancestor_is_a_logarithmic_number_of_steps_away(start: int) -> None:
    most = max(count_steps(CHAIN, start, target) for target in range(start))
    assert most <= 3 * math.log2(start + 2)


@given(st.integers(0, 9_999), st.integers(0, 9_999))
def test_walk_ends_at_its_target(first: int, second: int) -> None:
    assert count_steps(CHAIN, max(first, second), min(first, second)) <= 40


def test_skip_depends_on_the_chain_below_only() -> None:
    assert build_chain(300) == CHAIN[:300]
