"""Points in time, as the registry writes them: UTC to the second, as 2026-11-24T06:07:00Z.

Such texts sort as the times do.
"""

from __future__ import annotations

from datetime import datetime, timedelta

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def shift(moment: str, by: timedelta) -> str:
    """Return the moment that lies so much later, or with a negative span earlier."""
    return (datetime.strptime(moment, FORMAT) + by).strftime(FORMAT)  # noqa: DTZ007 - UTC as text
