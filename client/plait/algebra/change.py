"""How far two arrays are apart: the figures, and their computation for plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.algebra.arrays import FloatArray

BLOCK = 1 << 20
"""Elements that are held in double precision at a time."""
ONLY_OLD = "only in the old version"
ONLY_NEW = "only in the new version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How far two vectors are apart."""

    name: str
    """A module for a delta, a tensor for plain values."""
    old_norm: float
    new_norm: float
    change_norm: float
    """The norm of the difference."""
    product: float
    """The inner product."""
    note: str = ""
    """What to know when reading the figures."""

    @property
    def relative_change(self) -> float | None:
        """The norm of the difference over the old norm; None where something grew from zero."""
        if self.old_norm == 0:
            return 0.0 if self.change_norm == 0 else None
        return self.change_norm / self.old_norm

    @property
    def cosine(self) -> float | None:
        """Of the angle between them; None where one of them is zero."""
        length = self.old_norm * self.new_norm
        if length == 0:
            return None
        # Rounding would also give 0.9999999999999987 for what did not change at all.
        return 1.0 if self.change_norm == 0 else max(-1.0, min(1.0, self.product / length))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "old_norm": self.old_norm,
            "new_norm": self.new_norm,
            "change_norm": self.change_norm,
            "relative_change": self.relative_change,
            "cosine": self.cosine,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, order=True)
class NotCompared:
    """A module whose delta, or a tensor whose values, could not be compared."""

    name: str
    reason: str


def compare_values(
    name: str, old: FloatArray | None, new: FloatArray | None
) -> Change | NotCompared | None:
    """Return how far plain values moved, or None where they did not; one side may be absent."""
    if old is not None and new is not None and old.shape != new.shape:
        return NotCompared(name, f"its shape was {old.shape} and is {new.shape}")
    sums = np.zeros(4)
    with np.errstate(over="ignore", invalid="ignore"):
        for x, y in _blocks(old, new):
            sums += [x @ x, y @ y, (y - x) @ (y - x), x @ y]
    if not np.isfinite(sums).all():
        return NotCompared(name, "it holds a NaN, an infinity or numbers that are too large")
    old_norm, new_norm, change_norm = np.sqrt(sums[:3]).tolist()
    note = ONLY_NEW if old is None else ONLY_OLD if new is None else ""
    if change_norm == 0 and not note:
        return None
    return Change(
        name=name,
        old_norm=old_norm,
        new_norm=new_norm,
        change_norm=change_norm,
        product=float(sums[3]),
        note=note,
    )


def _blocks(
    old: FloatArray | None, new: FloatArray | None
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield equal parts of both in double precision; what is absent is zero."""
    sides = [None if side is None else side.reshape(-1) for side in (old, new)]
    size = max(0 if side is None else side.size for side in sides)
    for start in range(0, size, BLOCK):
        length = min(BLOCK, size - start)
        x, y = (
            np.zeros(length) if side is None else side[start : start + length].astype(np.float64)
            for side in sides
        )
        yield x, y
