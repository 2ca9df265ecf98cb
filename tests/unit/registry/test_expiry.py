"""What people type as the end of a token."""

import pytest

from plait.errors import InvalidInput
from plait_registry.domain.expiry import DEFAULT, ends_after, parse_expiry

NOW = "2026-11-24T06:07:08Z"


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("1d", "2026-11-25T06:07:08Z"),
        ("90d", "2027-02-22T06:07:08Z"),
        (DEFAULT, "2027-02-22T06:07:08Z"),
        ("2026-11-24", "2026-11-24T23:59:59Z"),
        ("2027-01-31", "2027-01-31T23:59:59Z"),
        ("2026-11-24T06:07:09Z", "2026-11-24T06:07:09Z"),
        ("never", None),
    ],
)
def test_end_is_written_in_the_one_form(text: str, end: str | None) -> None:
    assert parse_expiry(text, NOW) == end


@pytest.mark.parametrize(
    "text",
    [
        *("", "90", "d", "0d", "3651d", "9999d", "99999d", "-1d", "1.5d", "90 d", "90D", " 90d"),
        *("Never", "2026-13-01", "2026-02-30", "2027-1-31", "20270131", "2027-W05-1"),
        *("2027-01-31T12:00:00", "2027-01-31 12:00:00Z", "2027-01-31T25:00:00Z", "9" * 5_000),
        *(
            "2026-11-23",
            "2026-11-24T06:07:08Z",
            "1999-01-01T00:00:00Z",
            "\u0669\u0660d",
            "\x00",
            "\ud800",
        ),
    ],
)
def test_what_is_no_end_or_is_over_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_expiry(text, NOW)


@pytest.mark.parametrize(
    ("end", "other", "later"),
    [
        (None, None, False),
        (None, "2027-01-01T00:00:00Z", True),
        ("2027-01-01T00:00:00Z", None, False),
        ("2027-01-01T00:00:01Z", "2027-01-01T00:00:00Z", True),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", False),
    ],
)
def test_token_without_an_end_outlives_all_others(
    end: str | None, other: str | None, *, later: bool
) -> None:
    assert ends_after(end, other) is later
