import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from plait.errors import InvalidInput
from plait.model.recipe import Recipe
from plait.model.recipe_methods import METHODS
from plait.model.recipe_schema import recipe_schema, write_recipe_schema
from reference.recipes import document, one_input

PUBLISHED = Path(__file__).parents[3] / "docs" / "recipe.schema.json"
REMAKE = (
    'python -c "from plait.model.recipe_schema import write_recipe_schema as write; '
    f"open('docs/{PUBLISHED.name}', 'w', encoding='utf-8').write(write())\""
)


@pytest.fixture(scope="module")
def schema() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(recipe_schema())


def test_published_schema_is_the_one_that_the_table_gives() -> None:
    assert PUBLISHED.read_text("utf-8") == write_recipe_schema(), f"write it anew: {REMAKE}"


def test_schema_is_one() -> None:
    jsonschema_rs.meta.validate(json.loads(write_recipe_schema()))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_accepted_with_its_defaults(
    name: str, schema: jsonschema_rs.Draft202012Validator
) -> None:
    method = METHODS[name]
    items = [{"adapter": f"team/a{number}"} for number in range(method.least_inputs)]
    dtype = {"dtype": "F16"} if name == "cast" else {}
    recipe = Recipe.from_json(document(method=name, inputs=items, **dtype))
    commits = [f"{number:064x}" for number in range(len(items))]
    assert schema.is_valid(recipe.pin(commits).to_json())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "held",
    [
        document(method="tie"),
        document(format="plait.recipe/2"),
        document(paramters={}),
        document(inputs=[]),
        document(parameters={"rank": 0}),
        document(parameters={"rank": 8, "energy": 0.5}),
        document(parameters={"density": 0.5}),
        document(method="ties", parameters={"density": 1.5}),
        document(method="ties", parameters={"majority": "most"}),
        document(method="dare", parameters={"seed": -1}),
        document(method="negate"),
        document(dtype="half"),
        document(allow=["all"]),
        document(base="3fa9"),
        one_input() | {"method": "slerp"},
        one_input() | {"method": "cast"},
        one_input() | {"method": "stack", "dtype": "F16"},
        one_input(weight="0.7"),
        one_input(weight=1e31),
        one_input(adapter="sql"),
        one_input(commit="3fa9"),
        one_input(modules={"": 1}),
        one_input(layers={"03": 1}),
    ],
)
def test_schema_and_parser_refuse_the_same(
    held: dict[str, Any], schema: jsonschema_rs.Draft202012Validator
) -> None:
    assert not schema.is_valid(held)
    with pytest.raises(InvalidInput):
        Recipe.from_json(held)
