import json

import numpy as np
import pytest

from plait.algebra.change import BLOCK, Change, NotCompared, compare_values
from reference.dense_delta import figures


def compare(old: object, new: object) -> Change:
    change = compare_values(
        "t",
        None if old is None else np.asarray(old, np.float32),
        None if new is None else np.asarray(new, np.float32),
    )
    assert isinstance(change, Change)
    return change


def test_figures_are_those_of_long_vectors() -> None:
    rng = np.random.default_rng(1)
    old, new = rng.standard_normal((2, 3, BLOCK // 2 + 5)).astype(np.float32)
    change = compare(old, new)
    expected = figures(old.astype(np.float64), new.astype(np.float64))
    found = (change.old_norm, change.new_norm, change.change_norm, change.product)
    assert found == pytest.approx(expected, rel=1e-12)
    assert change.relative_change == pytest.approx(expected[2] / expected[0])
    assert change.cosine == pytest.approx(expected[3] / (expected[0] * expected[1]))


def test_equal_values_are_no_change() -> None:
    assert compare_values("t", np.ones(3), np.ones(3)) is None


def test_a_tensor_on_one_side_is_compared_to_zero() -> None:
    added, removed = compare(None, [3, 4]), compare([3, 4], None)
    assert (added.change_norm, added.relative_change, added.cosine) == (5, None, None)
    assert added.note == "only in the new version"
    assert (removed.change_norm, removed.relative_change, removed.cosine) == (5, 1, None)
    assert removed.note == "only in the old version"


def test_a_tensor_of_zeros_that_appears_is_told() -> None:
    assert compare(None, [0, 0]).relative_change == 0


def test_another_shape_is_not_compared() -> None:
    found = compare_values("t", np.ones(3), np.ones((3, 1)))
    assert found == NotCompared("t", "its shape was (3,) and is (3, 1)")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_what_has_no_norm_is_not_compared(value: float) -> None:
    assert isinstance(compare_values("t", np.ones(3), np.array([1, value, 1])), NotCompared)


def test_the_cosine_stays_within_its_bounds() -> None:
    change = Change(name="", old_norm=1, new_norm=1, change_norm=1e-9, product=1 + 1e-15)
    assert change.cosine == 1
    assert Change(name="", old_norm=1, new_norm=1, change_norm=0, product=1 - 1e-15).cosine == 1


def test_the_json_form_has_no_infinities() -> None:
    document = json.loads(json.dumps(compare(None, [3, 4]).to_json(), allow_nan=False))
    assert document["relative_change"] is None
    assert document["note"] == "only in the new version"
