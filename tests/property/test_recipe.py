"""Recipes: written and read again the same, and hostile documents refused in one way."""

import copy
import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.model import canonical
from plait.model.ids import CommitId, hash_bytes
from plait.model.layer_ranges import LARGEST_LAYER, LayerRange, find_overlap
from plait.model.recipe import Recipe
from plait.model.recipe_schema import recipe_schema
from plait.model.recipe_shorthand import parse_input
from plait.recipe_file import parse_yaml
from reference.recipes import documents
from reference.strategies import json_values

SCHEMA = jsonschema_rs.Draft202012Validator(recipe_schema())
MODULES = (
    "model.layers.0.self_attn.q_proj",
    "model.layers.10.mlp.up_proj",
    "model.layers.3.self_attn.v_proj",
    "lm_head",
)


def pin(recipe: Recipe) -> Recipe:
    return recipe.pin(
        [item.commit or CommitId(hash_bytes(item.adapter.encode())) for item in recipe.inputs]
    )


@given(documents())
def test_recipe_is_written_and_read_again_the_same(held: dict[str, Any]) -> None:
    recipe = Recipe.from_json(held)
    data = canonical.dumps(recipe.to_json())
    again = Recipe.from_json(canonical.loads(data))
    assert again == recipe
    assert canonical.dumps(again.to_json()) == data


@given(documents())
def test_pinning_twice_is_pinning_once_and_changes_no_weight(held: dict[str, Any]) -> None:
    recipe = Recipe.from_json(held)
    pinned = pin(recipe)
    assert pinned.is_pinned
    assert pin(pinned) == pinned
    assert Recipe.from_json(canonical.loads(canonical.dumps(pinned.to_json()))) == pinned
    assert all(pinned.value(name) == recipe.value(name) for name in recipe.definition.parameters)
    for module in MODULES:
        # Two patterns may disagree about a module: then they do so in both.
        one, other = (run(partial(each.weights_at, module)) for each in (pinned, recipe))
        assert one == other


@given(documents(), st.randoms(use_true_random=False))
def test_order_of_keys_means_nothing(held: dict[str, Any], random: Any) -> None:
    def shuffle(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffle(value[key]) for key in keys}
        return [shuffle(item) for item in value] if isinstance(value, list) else value

    assert Recipe.from_json(shuffle(held)).to_json() == Recipe.from_json(held).to_json()


@given(documents())
def test_what_the_parser_takes_the_schema_takes_too(held: dict[str, Any]) -> None:
    recipe = Recipe.from_json(held)
    for taken in (held, recipe.to_json(), pin(recipe).to_json()):
        SCHEMA.validate(json.loads(json.dumps(taken)))


@given(st.data())
def test_document_with_one_part_replaced_is_refused_or_is_still_a_recipe(
    data: st.DataObject,
) -> None:
    held = copy.deepcopy(data.draw(documents()))
    place: Any = held
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(json_values)
    read_or_refuse(held)


@given(json_values | st.dictionaries(st.integers() | st.text(), json_values, max_size=3))
def test_any_value_is_refused_or_is_a_recipe(held: object) -> None:
    read_or_refuse(held)


_T = TypeVar("_T")


def run(parse: Callable[[], _T]) -> _T | None:
    """Return what is parsed, or None where it is refused in the one way that is foreseen."""
    try:
        return parse()
    except PlaitError as error:
        refused = error
    assert refused.kind == "invalid-recipe"
    assert len(refused.message) < 3_000
    return None


def read_or_refuse(held: object) -> None:
    recipe = run(lambda: Recipe.from_json(held))
    if recipe is not None:
        # Whatever is accepted has a form that is read again as the same.
        assert Recipe.from_json(canonical.loads(canonical.dumps(recipe.to_json()))) == recipe
        SCHEMA.validate(json.loads(json.dumps(held)))


@given(st.text(st.sampled_from("ab1.:-[]{}&*!%'\"#|>?,~ \n\t\u2028é"), max_size=60))
def test_any_text_is_yaml_or_refused(text: str) -> None:
    canonical.dumps(run(lambda: parse_yaml(text.encode())))


@given(documents())
def test_json_means_the_same_when_it_is_read_as_yaml(held: dict[str, Any]) -> None:
    text = json.dumps(Recipe.from_json(held).to_json())
    assert Recipe.from_json(parse_yaml(text.encode())) == Recipe.from_json(held)


@given(st.text(max_size=30) | st.text(st.sampled_from("ns/ame@v1*0.-e7"), max_size=20))
def test_any_text_is_an_input_or_refused(text: str) -> None:
    parsed = run(lambda: parse_input(text))
    assert parsed is None or text.startswith(parsed.adapter)


ends = st.integers(0, 30)
ranges = ends.map("{}-".format) | st.tuples(ends, ends).map(lambda two: f"{min(two)}-{max(two)}")


@given(st.lists(ranges, max_size=6, unique=True))
def test_overlap_is_found_where_two_ranges_share_a_layer(texts: list[str]) -> None:
    parsed = [LayerRange.parse(text) for text in texts]
    shared = any(sum(layer in each for each in parsed) > 1 for layer in (*range(32), LARGEST_LAYER))
    found = find_overlap(texts)
    assert (found is not None) == shared
    if found is not None:
        one, other = map(LayerRange.parse, found)
        assert any(layer in one and layer in other for layer in (*range(32), LARGEST_LAYER))
