"""Canonical JSON (RFC 8785): the one serialisation that ids are computed from.

- `dumps` gives the same bytes for equal values on every machine.
- `loads` is strict: UTF-8, no duplicate keys, no NaN or infinity, bounded depth.
- Integers beyond 2^53 cannot be written in canonical JSON and are refused.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import rfc8785

from plait.errors import InvalidInput


def dumps(value: Any) -> bytes:
    """Return the canonical bytes of `value`.

    Raises:
        InvalidInput: `value` holds something that canonical JSON cannot express.
    """
    try:
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
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except InvalidInput:
        raise
    except RecursionError as error:
        raise InvalidInput("invalid-json", "Not valid JSON: nested too deeply.") from error
    except ValueError as error:
        raise InvalidInput("invalid-json", f"Not valid JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A duplicate key is read as its first or its last value, depending on the parser.
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput("invalid-json", f"Not valid JSON: the key {twice!r:.80} appears twice.")
    return mapping


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidInput("invalid-json", f"Not valid JSON: {name} is not a JSON number.")
