"""Layer probes and health figures against their plain references, for any bits and any blocks."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.algebra.arrays import decode
from plait.algebra.layer_probe import LayerProbe
from plait.algebra.merge_health import MergeHealth
from reference.merge_probes import norm_of_change, probe

WIDTHS = {"F32": 4, "F16": 2, "BF16": 2}
EXPONENTS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}


def draw_codes(data: st.DataObject, dtype: str, count: int) -> bytes:
    """Return any finite numbers: subnormals, zeros of both signs and the largest among them."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    unsigned = "<u4" if dtype == "F32" else "<u2"
    highest = 2 ** (8 * WIDTHS[dtype]) - 1
    codes = np.random.default_rng(seed).integers(0, highest, count, unsigned, endpoint=True)
    exponent = EXPONENTS[dtype]
    special = data.draw(st.lists(st.sampled_from([0, 1, exponent - 1, ~exponent & highest])))
    codes[: len(special)] = np.array(special, unsigned)[:count]
    codes[codes & exponent == exponent] &= highest ^ exponent
    return codes.tobytes()


def cut(data: st.DataObject, count: int) -> list[tuple[int, int]]:
    """Return places that cut so many things into pieces, some of them empty."""
    inner = data.draw(st.lists(st.integers(0, count), max_size=6))
    return list(pairwise([0, *sorted(inner), count]))


@given(data=st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("dtype", WIDTHS)
def test_health_in_any_blocks_is_that_of_the_reference(dtype: str, data: st.DataObject) -> None:
    count, width = data.draw(st.integers(1, 3000)), WIDTHS[dtype]
    base, merged = draw_codes(data, dtype, count), draw_codes(data, dtype, count)
    health = MergeHealth(dtype)
    for left, right in cut(data, count):
        block = slice(left * width, right * width)
        health.add(base[block], merged[block])
    figures = health.finish()
    assert figures.norm == norm_of_change(base, merged, dtype)
    assert (figures.not_finite, figures.elements) == (0, count)


@given(data=st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("dtype", WIDTHS)
def test_a_probe_in_any_blocks_is_that_of_the_reference(dtype: str, data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 300))
    merged = draw_codes(data, dtype, rows * columns)
    layer = LayerProbe("x.weight", (rows, columns), dtype)
    size = columns * WIDTHS[dtype]
    for left, right in cut(data, rows):
        layer.add(merged[left * size : right * size])
    y = probe("x.weight", decode(merged, dtype, (rows, columns), precision=np.float64))
    assert layer.finish() == hashlib.sha256(y.astype("<f8").tobytes()).hexdigest()
