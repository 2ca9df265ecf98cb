"""What an event says, and how webhooks are tried and signed."""

import hashlib
import hmac

import pytest

from plait.errors import InvalidInput
from plait.model.address import RepositoryName
from plait.webhooks import is_signed
from plait_registry.domain.access import Caller
from plait_registry.domain.change import Action, Change
from plait_registry.domain.events import (
    KIND_OF_ACTION,
    Event,
    EventId,
    EventKind,
    describe_event,
    parse_cursor,
    parse_kind,
    write_cursor,
)
from plait_registry.domain.webhooks import (
    LONGEST_PAUSE_S,
    Backoff,
    WebhookId,
    parse_delivery_id,
    sign,
    write_body,
    write_delivery_id,
)

NAME = RepositoryName("Team", "SQL")
NOW = "2026-11-24T06:07:00Z"
ADA = Caller("ada")


def test_change_of_a_repository_is_an_event() -> None:
    change = Change.of_repository(Action.REF_MOVE, NAME, ref="main", new="ab")
    event = describe_event(change, ADA, NOW)
    assert event == Event(EventKind.REF_MOVED, NAME, "ada", NOW, {"ref": "main", "new": "ab"})
    assert event.namespace == "team"


def test_every_kind_of_event_comes_from_one_action() -> None:
    assert sorted(KIND_OF_ACTION.values()) == sorted(EventKind)


@pytest.mark.parametrize("action", [Action.TOKEN_CREATE, Action.MEMBER_SET, Action.WEBHOOK_CREATE])
def test_change_of_people_and_rules_is_no_event(action: Action) -> None:
    assert describe_event(Change(action, "team", "team"), ADA, NOW) is None


def test_event_of_a_deletion_does_not_say_what_was_there() -> None:
    change = Change.of_repository(Action.REPOSITORY_DELETE, NAME, refs={"main": "ab"})
    event = describe_event(change, ADA, NOW)
    assert event is not None
    assert event.details == {}


def test_cursor_is_read_back() -> None:
    assert parse_cursor(write_cursor(EventId(1_234_567))) == 1_234_567


@pytest.mark.parametrize(
    "text", ["", "e", "12", "e-1", "eg", "E1", "e1 ", "latest", "e" + "f" * 16]
)
def test_cursor_that_no_feed_made_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        parse_cursor(text)


def test_unknown_kind_of_event_is_refused_with_the_known_ones() -> None:
    assert parse_kind("push") is EventKind.PUSH
    with pytest.raises(InvalidInput, match=r"ref\.created"):
        parse_kind("pushed")


def test_delivery_id_is_read_back() -> None:
    assert parse_delivery_id(write_delivery_id(WebhookId("wh1f"), EventId(31))) == ("wh1f", 31)


@pytest.mark.parametrize("text", ["", "wh1", "wh1-", "wh1-x", "wh1-" + "1" * 16])
def test_delivery_id_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="delivery"):
        parse_delivery_id(text)


def test_signature_covers_secret_time_and_body() -> None:
    body = write_body(Event(EventKind.PUSH, NAME, "ada", NOW, {"b": 1, "a": "ü"}, EventId(7)))
    assert (
        body
        == (
            '{"actor":"ada","at":"2026-11-24T06:07:00Z","details":{"a":"ü","b":1},"id":"e7",'
            '"kind":"push","repository":"Team/SQL"}'
        ).encode()
    )
    expected = hmac.new(b"secret", b"1790000000." + body, hashlib.sha256).hexdigest()
    signature = sign("secret", "1790000000", body)
    assert signature == f"sha256={expected}"
    assert is_signed("secret", "1790000000", body, signature)
    assert not is_signed("other", "1790000000", body, signature)
    assert not is_signed("secret", "1790000001", body, signature)
    assert not is_signed("secret", "1790000000", body + b" ", signature)
    assert not is_signed("secret", "1790000000", body, "sha256=ü")


def test_attempts_are_spread_over_about_a_day() -> None:
    backoff = Backoff()
    pauses = [backoff.pause_s(attempts, 0.5) for attempts in range(1, backoff.attempts)]
    assert pauses == [30, 120, 480, 1_920, 7_680, 30_720, LONGEST_PAUSE_S]
    assert 20 * 3_600 < sum(pauses) < 25 * 3_600
    assert not backoff.is_last(7)
    assert backoff.is_last(8)


def test_pauses_differ_by_chance_between_half_and_one_and_a_half() -> None:
    assert [Backoff().pause_s(1, jitter) for jitter in (0.0, 1.0)] == [15, 45]


def test_pause_after_very_many_attempts_is_still_half_a_day() -> None:
    assert Backoff(attempts=100).pause_s(99, 0.5) == LONGEST_PAUSE_S
