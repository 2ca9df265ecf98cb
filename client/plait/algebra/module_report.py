"""Figures about the outcome of one module, for people: computed with BLAS and LAPACK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.algebra.delta import Dense, LowRank, Matrix
from plait.algebra.low_rank_norms import norm_of_difference, norm_of_product
from plait.algebra.rounding import round_to


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The outcome's factors, with what the cut to their rank cost."""

    B: Matrix
    """(out, r), gamma inside."""
    A: Matrix
    """(r, in)"""
    kept: float = 1.0
    """The part of the squared norm that the rank keeps."""
    is_tied: bool = False
    """The singular values on both sides of the cut are equal: which are kept is arbitrary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleReport:
    """Figures about one module; none of them is part of the outcome's bytes."""

    module: str
    weights: tuple[float, ...]
    """By input, as they count in this module."""
    input_norms: tuple[float, ...]
    """Of the inputs' deltas, unweighted; 0 for an input that does not adapt the module."""
    rank: int
    norm: float
    """Of the outcome's delta, before it is rounded to its dtype."""
    kept: float
    """The part of the squared norm that the rank keeps: 1 where nothing is cut."""
    rounding: float
    """The norm of what rounding to the dtype changed, relative to `norm`."""
    is_tied: bool
    """The singular values on both sides of the cut are equal: which are kept is arbitrary."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "module": self.module,
            "weights": list(self.weights),
            "input_norms": list(self.input_norms),
            "rank": self.rank,
            "norm": self.norm,
            "kept": self.kept,
            "rounding": self.rounding,
            "is_tied": self.is_tied,
        }


def report_module(
    module: str,
    cut: Cut,
    deltas: Sequence[LowRank | Dense | None],
    weights: Sequence[float],
    dtype: str,
) -> ModuleReport:
    """Return the figures; `deltas` has None for inputs that do not adapt the module."""
    norm = norm_of_product(cut.B, cut.A)
    rounded = round_to(cut.B, dtype), round_to(cut.A, dtype)
    change = norm_of_difference((cut.B, cut.A), rounded)
    return ModuleReport(
        module=module,
        weights=tuple(weights),
        input_norms=tuple(map(_norm, deltas)),
        rank=cut.A.shape[0],
        norm=norm,
        kept=cut.kept,
        rounding=change / norm if norm > 0.0 else 0.0,
        is_tied=cut.is_tied,
    )


def _norm(delta: LowRank | Dense | None) -> float:
    if delta is None:
        return 0.0
    if isinstance(delta, LowRank):
        return abs(delta.gamma) * norm_of_product(
            delta.B.astype(np.float64), delta.A.astype(np.float64)
        )
    return float(np.linalg.norm(delta.compute()))
