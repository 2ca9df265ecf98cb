"""The values that a recipe gives to a method's parameters: checked by their unit, and from text.

A number is a float, whatever a document wrote, a count and a seed are integers: equal values have
equal canonical bytes.
"""

from __future__ import annotations

import re

from plait.model.finite_numbers import LARGEST_NUMBER, check_number, parse_number
from plait.model.recipe_methods import Parameter, Unit, Value

LARGEST_COUNT = 65_536
"""No weight has a rank above it, and no iteration that converges needs as many steps."""
LARGEST_SEED = 2**53 - 1
"""The largest integer of canonical JSON."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_FLAGS = {"true": True, "false": False}


def check_value(parameter: Parameter, value: object) -> Value:
    """Return a value from a document in its one form.

    Raises:
        ValueError: it is not of the parameter's unit; the text says what is wanted.
    """
    unit = parameter.unit
    if unit in {Unit.COUNT, Unit.SEED}:
        least, most = (1, LARGEST_COUNT) if unit is Unit.COUNT else (0, LARGEST_SEED)
        if type(value) is int and least <= value <= most:
            return value
    elif unit is Unit.FLAG:
        if isinstance(value, bool):
            return value
    elif unit is Unit.CHOICE:
        if isinstance(value, str) and value in parameter.choices:
            return value
    else:
        number = check_number(value)
        is_inside = (
            unit is Unit.NUMBER
            or (unit is Unit.FRACTION and 0.0 < number <= 1.0)
            or (unit is Unit.SHARE and 0.0 <= number < 1.0)
        )
        if is_inside:
            return number
    raise ValueError(describe_values(parameter))


def parse_value(parameter: Parameter, text: str) -> Value:
    """Return what a person typed for a parameter; raises as `check_value` does."""
    value: object = text
    if parameter.unit in {Unit.COUNT, Unit.SEED}:
        value = int(text) if _INTEGER.fullmatch(text) else None
    elif parameter.unit is Unit.FLAG:
        value = _FLAGS.get(text)
    elif parameter.unit is not Unit.CHOICE:
        value = parse_number(text)
    return check_value(parameter, value)


def describe_values(parameter: Parameter) -> str:
    """Return what a parameter wants, as a clause for messages."""
    return {
        Unit.COUNT: f"a whole number from 1 to {LARGEST_COUNT}",
        Unit.SEED: f"a whole number from 0 to {LARGEST_SEED}",
        Unit.FRACTION: "a number above 0 and at most 1",
        Unit.SHARE: "a number of at least 0 and below 1",
        Unit.NUMBER: f"a finite number of at most {LARGEST_NUMBER:g} in magnitude",
        Unit.FLAG: "true or false",
        Unit.CHOICE: " or ".join(parameter.choices),
    }[parameter.unit]


def show_value(value: object) -> str:
    """Return a value as messages show it: short, and never the text of a huge integer."""
    if type(value) is int and abs(value) > LARGEST_SEED:
        return "a huge whole number"
    return f"{value!r:.80}" if isinstance(value, str | bool | int | float) else _name_kind(value)


def _name_kind(value: object) -> str:
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list | tuple) else "an object"
