"""What operators choose about events."""

import pytest

from plait.errors import InvalidInput
from plait_registry.settings import EventSettings, read_settings


def test_without_variables_serve_delivers_to_public_addresses() -> None:
    assert read_settings({}, {}).events == EventSettings(
        delivery=True, allow_private=False, threads=4, attempts=8, keep_days=30
    )


def test_variables_change_how_events_are_delivered() -> None:
    environ = {
        "PLAIT_DELIVERY": "off",
        "PLAIT_DELIVERY_THREADS": "6",
        "PLAIT_EVENT_DAYS": "7",
        "PLAIT_WEBHOOK_ALLOW_PRIVATE": "1",
        "PLAIT_WEBHOOK_ATTEMPTS": "3",
    }
    assert read_settings({}, environ).events == EventSettings(
        delivery=False, allow_private=True, threads=6, attempts=3, keep_days=7
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DELIVERY", "maybe"),
        ("DELIVERY_THREADS", "0"),
        ("EVENT_DAYS", "0"),
        ("WEBHOOK_ALLOW_PRIVATE", "some"),
        ("WEBHOOK_ATTEMPTS", "none"),
    ],
)
def test_value_that_cannot_work_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=f"PLAIT_{name}"):
        read_settings({}, {f"PLAIT_{name}": value})
