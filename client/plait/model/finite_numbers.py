"""Weights and other numbers of recipes and stacks: finite floats of ordinary size, never -0."""

from __future__ import annotations

import re

LARGEST_NUMBER = 1e30
"""In magnitude, as in an adapter's config: squares of sums stay finite."""

_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")


def check_number(value: object) -> float:
    """Return a number from a document as a finite float, never -0.

    Raises:
        ValueError: it is none, or not of ordinary size.
    """
    # NaN fails the comparison; an integer too large for a float must not be converted.
    if type(value) not in {int, float} or not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:  # type: ignore[operator]
        raise ValueError(f"a finite number of at most {LARGEST_NUMBER:g} in magnitude")
    return float(value) + 0.0  # type: ignore[arg-type]


def parse_number(text: str) -> float:
    """Return a decimal number that a person typed, as `0.7`, `-1` or `1e-3`.

    Raises:
        ValueError: it is none: Python's other forms (`1_000`, `nan`, `inf`) are not taken.
    """
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("a number, as 0.7, -1 or 1e-3")
    return check_number(float(text))
