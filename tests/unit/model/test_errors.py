import copy
import json
import pickle

import pytest

from plait import errors
from plait.errors import (
    CLASS_OF_KIND,
    Conflict,
    Internal,
    NotFound,
    PlaitError,
    Unavailable,
    error_from_json,
)


@pytest.mark.parametrize("kind", sorted(CLASS_OF_KIND))
def test_every_kind_comes_back_as_the_same_class(kind: str) -> None:
    error = CLASS_OF_KIND[kind](kind, "Do this — and that.", expected="a", actual=None, sizes=[1])
    body = json.loads(json.dumps(error.to_json()))
    again = error_from_json(body, fallback=PlaitError)
    assert type(again) is CLASS_OF_KIND[kind]
    assert (again.kind, again.message, str(again)) == (kind, error.message, error.message)
    assert again.details == {"expected": "a", "actual": None, "sizes": [1]}


def test_every_class_has_a_kind_and_is_in_the_drawn_tree() -> None:
    classes = set(PlaitError.__subclasses__())
    assert set(CLASS_OF_KIND.values()) == classes
    for each in classes:
        assert f"── {each.__name__} " in (errors.__doc__ or "")


def test_kinds_are_words_that_a_url_and_a_log_can_carry() -> None:
    for kind in CLASS_OF_KIND:
        assert kind.replace("-", "").isalpha()
        assert kind == kind.lower()


def test_kind_of_a_newer_registry_becomes_the_class_of_its_status() -> None:
    body = {"error": {"kind": "quantum-decoherence", "message": "Look away.", "details": {"q": 1}}}
    error = error_from_json(body, fallback=Conflict)
    assert type(error) is Conflict
    assert (error.kind, error.message, error.details) == (
        "quantum-decoherence", "Look away.", {"q": 1}
    )  # fmt: skip


@pytest.mark.parametrize(
    "body", [None, "x", 1, [], {}, {"detail": "Not Found"}, {"error": None}, {"error": "boom"}]
)
def test_answer_without_an_error_in_it_says_that_the_registry_misbehaved(body: object) -> None:
    error = error_from_json(body, fallback=Unavailable)
    assert type(error) is Unavailable
    assert error.kind == "registry-misbehaved"


@pytest.mark.parametrize(
    "error",
    [
        {},
        {"kind": None},
        {"kind": 7, "message": ["x"]},
        {"kind": "commit-not-found", "message": None, "details": []},
        {"kind": {}, "details": {"self": 1, "kind": 2, "message": 3, "": 4, "a b": 5}},
    ],
)
def test_half_an_error_is_still_an_error(error: object) -> None:
    again = error_from_json({"error": error}, fallback=Internal)
    assert isinstance(again, PlaitError)
    assert isinstance(again.kind, str)
    assert isinstance(again.message, str)
    assert not {"self", "kind", "message"} & set(again.details)


def test_error_without_a_message_shows_its_kind() -> None:
    error = error_from_json({"error": {"kind": "commit-not-found"}}, fallback=Internal)
    assert type(error) is NotFound
    assert str(error) == "commit-not-found"


@pytest.mark.parametrize("error", [Conflict("diverged", "Pull first.", ahead=1, branch="main")])
def test_error_of_a_worker_process_arrives_whole(error: PlaitError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own
        assert type(again) is type(error)
        assert (again.kind, str(again), again.details) == (error.kind, str(error), error.details)
