"""What a composition by the registry is asked for, and what its job keeps of that."""

from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model.commit import LONGEST_MESSAGE, Person
from plait.model.recipe import Recipe
from plait_registry.domain.composition_wish import CompositionPayload, CompositionWish, parse_wish

DOCUMENT = {
    "format": "plait.recipe/1",
    "method": "sum",
    "inputs": [
        {"adapter": "team/cpp", "weight": 0.7},
        {"adapter": "Team/CPP", "revision": "old", "weight": 0.1},
        {"adapter": "lab/prose", "weight": 0.3},
    ],
}
RECIPE = Recipe.from_json(DOCUMENT)
ADA = Person("Ada", "ada@example.org")


def parse(**wish: Any) -> CompositionWish:
    given: dict[str, Any] = {"branch": "blend", "message": "Blend them", "author": ADA, **wish}
    return parse_wish(RECIPE, **given)


def test_payload_says_all_that_was_asked_for() -> None:
    payload = CompositionPayload.from_bytes(parse().to_bytes())
    assert payload == CompositionPayload(RECIPE.to_json(), "blend", "Blend them", ADA)
    assert Recipe.from_json(payload.recipe) == RECIPE


def test_every_input_repository_is_named_once_whatever_the_case() -> None:
    assert [name.key for name in parse().inputs] == ["team/cpp", "lab/prose"]


def test_message_may_be_left_to_the_composition_and_is_cleaned_otherwise() -> None:
    assert parse(message=None).message is None
    assert parse(message="Blend\n\n").message == "Blend"


@pytest.mark.parametrize(
    "wish",
    [
        {"branch": "no such..name"},
        {"branch": "HEAD"},
        {"message": " \n"},
        {"message": "x" * (LONGEST_MESSAGE + 1)},
        {"author": Person("", "")},
        {"author": Person("  ", "a@b")},
        {"author": Person("Ada\n", "")},
        {"author": Person("Ada", "<ada>")},
        {"author": Person("\ud800", "")},
        {"author": Person("x" * 2_000, "")},
    ],
    ids=str,
)
def test_wish_that_makes_no_commit_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse(**wish)
