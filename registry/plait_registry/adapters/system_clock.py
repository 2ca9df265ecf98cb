"""The computer's clock."""

from __future__ import annotations

from datetime import UTC, datetime

from typing_extensions import override

from plait_registry.domain.ports import Clock


class SystemClock(Clock):
    """Reads UTC from the operating system."""

    @override
    def now(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
