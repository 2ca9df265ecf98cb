import math

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra import logit_figures
from plait.algebra.logit_figures import LogitFigures, list_top, view_logits

TOKENS = (3, 0, 4, 1)


def make_logits(seed: int = 0, rows: int = 4) -> NDArray[np.float32]:
    return (3 * np.random.default_rng(seed).standard_normal((rows, 6))).astype(np.float32)


def softmax(values: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(values.astype(float))
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def test_the_loss_is_that_of_the_tokens_that_follow() -> None:
    figures = LogitFigures()
    logits = make_logits()
    figures.add("text", TOKENS, logits)
    losses = [-math.log(softmax(logits[t])[TOKENS[t + 1]]) for t in range(3)]
    assert figures.find_loss("text") == pytest.approx(sum(losses) / 3)
    assert figures.find_loss("other") is None


def test_groups_have_losses_of_their_own() -> None:
    figures, alone = LogitFigures(), LogitFigures()
    figures.add("a", TOKENS, make_logits(1))
    figures.add("b", TOKENS, make_logits(2))
    alone.add("b", TOKENS, make_logits(2))
    assert figures.find_loss("b") == alone.find_loss("b") != figures.find_loss("a")


def test_the_divergence_is_the_mean_over_the_places() -> None:
    logits, base = make_logits(1), make_logits(2)
    figures = LogitFigures()
    figures.add("text", TOKENS, logits, base=base)
    expected = [
        sum(p * math.log(p / q) for p, q in zip(softmax(x), softmax(y), strict=True))
        for x, y in zip(logits, base, strict=True)
    ]
    assert figures.divergence == pytest.approx(sum(expected) / 4)
    assert figures.largest_shift == pytest.approx(float(np.abs(logits - base).max()))


def test_figures_against_the_base_are_none_without_one() -> None:
    figures = LogitFigures()
    figures.add("text", TOKENS, make_logits())
    assert (figures.divergence, figures.largest_shift) == (None, None)


def test_the_number_of_places_at_once_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pieces = LogitFigures(), LogitFigures()
    whole.add("text", TOKENS, make_logits(1), base=make_logits(2))
    monkeypatch.setattr(logit_figures, "_AT_ONCE", 7)  # one place
    pieces.add("text", TOKENS, make_logits(1), base=make_logits(2))
    for name in ("divergence", "largest_shift", "not_finite"):
        assert getattr(pieces, name) == getattr(whole, name)
    assert pieces.find_loss("text") == whole.find_loss("text")


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, 0.0], [0.0, -1e4]], np.float32)
    figures = LogitFigures()
    figures.add("text", (0, 1), logits, base=logits)
    assert figures.find_loss("text") == 1e4
    assert figures.divergence == 0.0


def test_numbers_that_are_not_finite_are_counted_and_make_figures_none() -> None:
    logits = make_logits(1)
    logits[1, 2], logits[3, 0] = np.nan, np.inf
    figures = LogitFigures()
    figures.add("text", TOKENS, logits, base=make_logits(2))
    assert figures.not_finite == 2
    assert figures.find_loss("text") is None
    assert figures.divergence is None
    assert figures.largest_shift is None


def test_the_top_is_sorted_and_the_earlier_token_comes_first_of_equal_ones() -> None:
    logits = np.array([1.0, 3.0, -2.0, 3.0, -0.0], np.float32)
    assert list_top(logits, 3) == [(1, 3.0), (3, 3.0), (0, 1.0)]
    assert math.copysign(1.0, list_top(logits, 4)[3][1]) == 1.0


def test_the_top_leaves_out_what_is_not_finite() -> None:
    logits = np.array([np.inf, 3.0, np.nan, 5.0, -np.inf], np.float32)
    assert list_top(logits, 3) == [(3, 5.0), (1, 3.0)]


def test_logits_that_were_written_down_come_back() -> None:
    logits = make_logits()
    assert np.array_equal(view_logits(logits.tobytes(), (4, 6)), logits)
