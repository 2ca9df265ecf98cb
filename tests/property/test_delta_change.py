from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta_change import compare_deltas
from reference.adapters import adapter_of
from reference.dense_delta import delta, figures

ranks = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


def source(modules: dict[str, tuple[Any, Any]], rank: int, alpha: float) -> AdapterTensors:
    tensors = {
        f"base_model.model.{module}.{part}.weight": array
        for module, pair in modules.items()
        for part, array in zip(("lora_A", "lora_B"), pair, strict=True)
    }
    return adapter_of(tensors, peft_type="LORA", r=rank, lora_alpha=alpha)


@given(
    old_rank=ranks,
    new_rank=ranks,
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    distance=st.sampled_from([0.0, 1e-9, 1e-3, 1.0]),
    seed=seeds,
)
def test_figures_are_those_of_the_deltas_multiplied_out(
    old_rank: int, new_rank: int, rows: int, columns: int, distance: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    old_a, old_b = rng.standard_normal((old_rank, columns)), rng.standard_normal((rows, old_rank))
    new_a, new_b = rng.standard_normal((new_rank, columns)), rng.standard_normal((rows, new_rank))
    if old_rank == new_rank:
        new_a, new_b = old_a + distance * new_a, old_b + distance * new_b
    comparison = compare_deltas(
        source({"m": (old_a, old_b)}, old_rank, 2), source({"m": (new_a, new_b)}, new_rank, 2)
    )
    (change,) = comparison.modules
    old, new = delta(old_a, old_b, 2 / old_rank), delta(new_a, new_b, 2 / new_rank)
    expected = figures(old, new)
    found = (change.old_norm, change.new_norm, change.change_norm, change.product)
    size = max(
        float(np.linalg.norm(a) * np.linalg.norm(b)) for a, b in ((old_a, old_b), (new_a, new_b))
    )
    assert found[:3] == pytest.approx(expected[:3], rel=1e-9, abs=1e-14 * size)
    assert found[3] == pytest.approx(expected[3], rel=1e-9, abs=1e-13 * size**2)
    assert comparison.total.change_norm == pytest.approx(change.change_norm)


@given(rank=ranks, seed=seeds, scale=st.floats(0.1, 10))
def test_a_scaled_delta_keeps_its_direction(rank: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    modules = {
        name: (rng.standard_normal((rank, 8)), rng.standard_normal((7, rank))) for name in "abc"
    }
    old, new = source(modules, rank, 1), source(modules, rank, scale)
    for change in (*compare_deltas(old, new).modules, compare_deltas(old, new).total):
        assert change.cosine == pytest.approx(1)
        assert change.relative_change == pytest.approx(abs(scale - 1), abs=1e-12)


@given(rank=ranks, seed=seeds)
def test_the_distance_is_the_same_both_ways(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = (
        source({"m": (rng.standard_normal((rank, 8)), rng.standard_normal((7, rank)))}, rank, 1)
        for _ in range(2)
    )
    there, back = compare_deltas(one, two).total, compare_deltas(two, one).total
    assert there.change_norm == pytest.approx(back.change_norm)
    assert there.product == pytest.approx(back.product)
    assert (there.old_norm, there.new_norm) == (back.new_norm, back.old_norm)
