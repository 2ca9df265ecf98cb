"""When a token ends: what people type, and the one form that is kept.

Times are UTC to the second in one format, so that text compares as time does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from plait.errors import InvalidInput
from plait_registry.domain.moments import FORMAT

DEFAULT = "90d"
"""Long enough for a quarter's work, and short enough that a lost token dies by itself."""
NEVER = "never"
MOST_DAYS = 3_650

_DAYS = re.compile(r"([0-9]{1,4})d")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?")
_END_OF_DAY = "T23:59:59Z"


def parse_expiry(text: str, now: str) -> str | None:
    """Return the moment that `90d`, a date or a time means at `now`; None for `never`.

    A date means the end of that day, so that a token serves through the day that was named.

    Raises:
        InvalidInput: it has none of these forms, or is over already.
    """
    if text == NEVER:
        return None
    try:
        end = _parse(text, datetime.strptime(now, FORMAT).replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise InvalidInput(
            "invalid-input",
            f"{text!r:.80} is no end of a token: expected days from 1d to {MOST_DAYS}d, a date as "
            f"2027-01-31, a time as 2027-01-31T12:00:00Z, or {NEVER!r}.",
        ) from None
    written = end.strftime(FORMAT)
    if written <= now:
        raise InvalidInput("invalid-input", f"{text!r:.80} is over already: choose a later end.")
    return written


def ends_after(end: str | None, other: str | None) -> bool:
    """Tell whether a token that ends at `end` outlives one that ends at `other`."""
    return other is not None and (end is None or end > other)


def _parse(text: str, now: datetime) -> datetime:
    days = _DAYS.fullmatch(text)
    if days is not None:
        count = int(days[1])
        if not 1 <= count <= MOST_DAYS:
            raise ValueError(text)
        return now + timedelta(days=count)
    moment = _MOMENT.fullmatch(text)
    if moment is None:
        raise ValueError(text)
    return datetime.strptime(text if moment[1] else text + _END_OF_DAY, FORMAT).replace(tzinfo=UTC)
