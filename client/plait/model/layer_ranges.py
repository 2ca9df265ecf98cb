"""The layers of a model by number: `3`, `0-3`, and `16-` for the sixteenth and all after it.

A module's layer is the first component of its path that is a number: 3 in
`model.layers.3.mlp.experts.7.w1`. What lies outside the layers (embeddings, the head) has none, and
neither have kohya's names, which flatten the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

LARGEST_LAYER = 99_999

RANGE_PATTERN = "(0|[1-9][0-9]{0,4})(?:(-)(0|[1-9][0-9]{0,4})?)?"
"""A regular expression that means the same to Python and to JSON Schema."""

_RANGE = re.compile(RANGE_PATTERN)
_NUMBER = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True, order=True)
class LayerRange:
    """Layers `first` to `last`, both included."""

    first: int
    last: int

    def __contains__(self, layer: int) -> bool:
        return self.first <= layer <= self.last

    @classmethod
    def parse(cls, text: str) -> LayerRange:
        """Return `N`, `N-M` or `N-` as a range.

        Raises:
            ValueError: it is none of them, or ends before it begins. There is one way to write each
                number, so that no two keys of a recipe mean the same.
        """
        found = _RANGE.fullmatch(text)
        if found is None:
            raise ValueError("expected a layer's number, a range as 0-3, or 16- for all from 16 on")
        first = int(found[1])
        last = first if found[2] is None else LARGEST_LAYER if found[3] is None else int(found[3])
        if last < first:
            raise ValueError("it ends before it begins")
        return cls(first, last)


def find_overlap(texts: Iterable[str]) -> tuple[str, str] | None:
    """Return two ranges that share a layer, as they were written, or None.

    Raises:
        ValueError: as `LayerRange.parse` does.
    """
    ordered = sorted((LayerRange.parse(text), text) for text in texts)
    for (earlier, one), (later, other) in pairwise(ordered):
        if later.first <= earlier.last:
            return one, other
    return None


def find_layer(module: str) -> int | None:
    """Return the number of the layer that a module lies in, or None where it lies in none."""
    for component in module.split("."):
        if _NUMBER.fullmatch(component):
            return int(component)
    return None
