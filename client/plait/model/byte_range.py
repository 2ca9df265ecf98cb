"""Ranges of bytes as the header `Range` names them (RFC 9110, section 14.1.2).

Inside the code a range ends before its `end`; the header names the last byte.
"""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})", re.ASCII)


def write_range(begin: int, end: int) -> str:
    """Return the header for the bytes from `begin` up to `end`, of which there must be some."""
    return f"bytes={begin}-{end - 1}"


def find_range(header: str) -> tuple[int, int] | None:
    """Return the begin and the end of the one range that `write_range` wrote, or None."""
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    begin, end = int(match[1]), int(match[2]) + 1
    return (begin, end) if begin < end else None
