"""Figures of a model's logits, for people: loss, divergence from the base, largest shift.

    loss        -log softmax(z_t)[token_{t+1}], the mean over all t but a row's last
    divergence  sum over v of p_t[v] (log p_t[v] - log q_t[v]), p of the merged model, q of the
                base; the mean over t (Kullback and Leibler, https://doi.org/10.1214/aoms/1177729694)
    shift       max over t and v of |z_t[v] - z_t[v] of the base|

In float64, over rows of logits (T, V) that come one after the other; of a row, a few places at a
time are worked on, so that a large vocabulary does not need many times its memory. exp and log are
the machine's own: these bits are not portable. What is not finite makes a figure None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Doubles = NDArray[np.float64]

_AT_ONCE = 1 << 20
"""Logits: 8 MiB of float64 for each of the arrays in work."""


class LogitFigures:
    """The figures of one model, gathered row by row."""

    def __init__(self) -> None:
        self.not_finite = 0
        """NaNs and infinities among the logits."""
        self._losses: dict[str, list[float]] = {}
        self._divergences: list[float] = []
        self._shifts: list[float] = []

    def add(
        self, group: str, tokens: Sequence[int], logits: Logits, *, base: Logits | None = None
    ) -> None:
        """Look at a row: tokens (T,), the model's logits (T, V) and those of its base."""
        step = max(1, _AT_ONCE // logits.shape[1])
        following = np.asarray(tokens[1:], np.int64)
        losses = self._losses.setdefault(group, [])
        for left in range(0, logits.shape[0], step):
            places = slice(left, left + step)
            with np.errstate(all="ignore"):  # NaNs and infinities are counted
                ours = _log_softmax(logits[places])
                targets = following[places]  # the last place of a row has none
                losses.extend((-ours[np.arange(targets.size), targets]).tolist())
                self.not_finite += int(np.count_nonzero(~np.isfinite(logits[places])))
                if base is not None:
                    self._compare(ours, logits[places], base[places])

    def _compare(self, ours: Doubles, logits: Logits, base: Logits) -> None:
        theirs = _log_softmax(base)
        self._divergences.extend((np.exp(ours) * (ours - theirs)).sum(axis=1).tolist())
        self._shifts.append(float(np.abs(logits.astype(np.float64) - base).max()))

    def find_loss(self, group: str) -> float | None:
        """Return the mean loss of a group's tokens, in nats; None where no row was of it."""
        return _mean(self._losses.get(group, []))

    @property
    def divergence(self) -> float | None:
        """The mean divergence from the base, in nats; None where no base was given."""
        return _mean(self._divergences)

    @property
    def largest_shift(self) -> float | None:
        """The largest change of a logit; None where no base was given."""
        return _finite(float(np.max(self._shifts))) if self._shifts else None


def view_logits(data: bytes, shape: tuple[int, int]) -> Logits:
    """Return logits (T, V) that were written down in the machine's float32."""
    return np.frombuffer(data, np.float32).reshape(shape)


def list_top(logits: Logits, count: int) -> list[tuple[int, float]]:
    """Return the largest finite logits of a place (V,) with their tokens, the largest first."""
    order = np.argsort(-logits, kind="stable")[: count + np.count_nonzero(~np.isfinite(logits))]
    found = [(int(token), float(logits[token]) + 0.0) for token in order]
    return [(token, logit) for token, logit in found if math.isfinite(logit)][:count]


def _log_softmax(logits: Logits) -> Doubles:
    values = logits.astype(np.float64)  # (t, V)
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    return values


def _mean(values: Sequence[float]) -> float | None:
    return _finite(math.fsum(values) / len(values)) if values else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
