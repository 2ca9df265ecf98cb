import numpy as np
import pytest

from plait.algebra.torch_permutation import MOST_NUMBERS, draw_permutation
from plait.errors import InvalidInput

SEEDS = [0, 1, 777, 2**31, 2**32 - 1, 2**32 + 5, 2**63 - 1, -1, -777]


def test_places_known_from_torch_are_drawn() -> None:
    # torch.randperm(10, generator=torch.Generator().manual_seed(777)), and the first of 65,536
    assert draw_permutation(10, seed=777, count=10).tolist() == [5, 9, 0, 3, 1, 7, 4, 8, 6, 2]
    assert draw_permutation(65_536, seed=777, count=5).tolist() == [
        63591,
        24750,
        55563,
        26066,
        56799,
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 10, 623, 624, 625, 1_000, 65_536, 180_224])
@pytest.mark.torch
def test_the_permutation_is_that_of_torch(n: int) -> None:
    import torch

    for seed in SEEDS:
        expected = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
        for count in {0, 1, n // 2, n}:
            np.testing.assert_array_equal(
                draw_permutation(n, seed=seed, count=count), expected[:count]
            )


@pytest.mark.parametrize("count", [0, 1, 7, 50])
def test_fewer_places_are_the_first_of_more(count: int) -> None:
    everything = draw_permutation(50, seed=3, count=50)
    assert sorted(everything.tolist()) == list(range(50))
    assert draw_permutation(50, seed=3, count=count).tolist() == everything[:count].tolist()


@pytest.mark.parametrize(("n", "count"), [(3, 4), (3, -1), (MOST_NUMBERS, 1)])
def test_what_torch_draws_in_another_way_is_refused(n: int, count: int) -> None:
    with pytest.raises(InvalidInput, match="cannot be drawn"):
        draw_permutation(n, seed=0, count=count)


def test_just_below_the_limit_needs_no_more_than_the_places_asked_for() -> None:
    assert draw_permutation(MOST_NUMBERS - 1, seed=0, count=3).size == 3
