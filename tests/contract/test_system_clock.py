"""The clock's one rule: UTC to the second, in the form that commits are written in."""

from datetime import UTC, datetime

from plait_registry.adapters.system_clock import SystemClock


def test_clock_tells_utc_to_the_second() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    told = SystemClock().now()
    assert before <= datetime.strptime(told, "%Y-%m-%dT%H:%M:%S%z") <= datetime.now(UTC)
    assert told.endswith("Z")
