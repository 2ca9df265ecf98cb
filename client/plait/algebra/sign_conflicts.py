"""At how many elements deltas that would be added have different signs.

In a large module, rows are drawn by the counter generator for the module's name: a second report
says the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from plait.algebra.counter_random import uniforms
from plait.algebra.subspaces import Term, rows_of

MOST_COUNTED = 1 << 22
"""Elements of all inputs together that are looked at in one module."""

_BLOCK = 1 << 18
"""Elements of one input that are held at a time."""


def count_conflicts(
    module: str, terms: Sequence[Term], shape: tuple[int, int]
) -> tuple[int, int, bool]:
    """Return the elements in conflict, those compared, and whether rows were drawn.

    `shape` is that of every term, (out, in).
    """
    if len(terms) < 2:
        return 0, 0, False
    most_rows = max(1, MOST_COUNTED // (len(terms) * shape[1]))
    is_sampled = most_rows < shape[0]
    rows = np.arange(shape[0])
    if is_sampled:
        # The rows with the smallest numbers: drawn without putting back.
        order = np.argsort(uniforms(0, module, 0, shape[0]), kind="stable")
        rows = np.sort(order[:most_rows])
    conflicts = compared = 0
    for block in _blocks(rows, max(1, _BLOCK // shape[1])):
        values = [rows_of(term, block) for term in terms]  # k times (block, in)
        is_up = np.logical_or.reduce([value > 0.0 for value in values])
        is_down = np.logical_or.reduce([value < 0.0 for value in values])
        nonzero = np.sum([value != 0.0 for value in values], axis=0)
        conflicts += int(np.count_nonzero(is_up & is_down))
        compared += int(np.count_nonzero(nonzero >= 2))
    return conflicts, compared, is_sampled


def _blocks(rows: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    for start in range(0, rows.size, size):
        yield rows[start : start + size]
