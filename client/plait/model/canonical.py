"""Canonical JSON (RFC 8785): the one serialisation that ids are computed from.

- `dumps` gives the same bytes for equal values on every machine.
- `loads` is strict: UTF-8 without lone surrogates, no duplicate keys, no NaN or infinity (nor a
  number that becomes one), bounded depth.
- What `dumps` wrote, `loads` reads, and `dumps` then writes the same bytes again.
- Integers beyond 2^53 cannot be written in canonical JSON: `dumps` refuses them.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

import rfc8785

from plait.errors import InvalidInput

DEEPEST_WRITTEN = 64
"""Levels of lists and objects. Whoever shows a document recurses into it, so depth is bounded."""
DEEPEST_READ = 128
"""More than is written, since an answer wraps the documents that it carries."""

_LARGEST_INTEGER = 2**53 - 1
_ALWAYS_EXACT = 15
"""An integer of that many digits is below 2^53."""
_BELOW_EXPONENTS = 10**21
"""Numbers from here on are written with an exponent."""
_PLAIN_SCALARS = frozenset({str, bool, type(None)})


def dumps(value: Any) -> bytes:
    """Return the canonical bytes of `value`.

    Raises:
        InvalidInput: `value` holds something that canonical JSON cannot express.
    """
    try:
        if _is_plain(value, DEEPEST_WRITTEN):
            return json.dumps(
                value,
                ensure_ascii=False,
                check_circular=False,
                sort_keys=True,
                separators=(",", ":"),
            ).encode()
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidInput("invalid-json", f"Not expressible in canonical JSON: {error}") from error


def loads(data: bytes | str) -> Any:
    """Parse JSON strictly.

    Raises:
        InvalidInput: not JSON, or JSON that two parsers may read in two ways.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_read_integer,
            parse_float=_read_float,
            parse_constant=_refuse_constant,
        )
        _verify_depth(value)
        if "\\u" in text or isinstance(data, str):
            # A lone surrogate has no UTF-8; only an escape can smuggle one into bytes.
            json.dumps(value, ensure_ascii=False).encode()
    except InvalidInput:
        raise
    except RecursionError as error:
        raise InvalidInput("invalid-json", "Not valid JSON: nested too deeply.") from error
    except ValueError as error:
        raise InvalidInput("invalid-json", f"Not valid JSON: {error}") from error
    return value


def _is_plain(value: Any, room: int) -> bool:
    """Tell whether the standard library writes `value` as RFC 8785 wants it.

    That library is several times as fast, and differs in numbers other than small integers, in the
    order of keys outside ASCII (RFC 8785 sorts by UTF-16), and in what it takes for a key.
    Visits all of `value`, so that its depth is checked in any case.
    """
    kind = type(value)
    if kind is dict:
        plain = all(type(key) is str and key.isascii() for key in value)
        items = value.values()
    elif kind is list or kind is tuple:
        plain, items = True, value
    elif kind is int:
        return abs(int(value)) <= _LARGEST_INTEGER
    else:
        return kind in _PLAIN_SCALARS
    if room == 0:
        raise InvalidInput(
            "invalid-json", f"Not expressible here: nested over {DEEPEST_WRITTEN} levels deep."
        )
    for item in items:
        if type(item) is not str and not _is_plain(item, room - 1):
            plain = False
    return plain


def _verify_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST_READ + 1):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise InvalidInput("invalid-json", "Not valid JSON: nested too deeply.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A duplicate key is read as its first or its last value, depending on the parser.
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise InvalidInput("invalid-json", f"Not valid JSON: the key {twice!r:.80} appears twice.")
    return mapping


def _read_integer(text: str) -> int | float:
    if len(text) <= _ALWAYS_EXACT and text != "-0":
        return int(text)
    value = int(text)
    if value == 0:
        # Zero to some parsers, a float or no integer at all to others.
        raise InvalidInput("invalid-json", "Not valid JSON: -0 is not an integer.")
    if _LARGEST_INTEGER < abs(value) < _BELOW_EXPONENTS:
        # `dumps` writes a large float without a point, as RFC 8785 wants it.
        number = float(value)
        if rfc8785.dumps(number) == text.encode():
            return number
    return value


def _read_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise InvalidInput("invalid-json", f"Not valid JSON: {text:.40} is too large a number.")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidInput("invalid-json", f"Not valid JSON: {name} is not a JSON number.")
