"""Recipes in one line, as the command line takes them.

    plait compose --method sum --rank 16 team/sql@v2*0.7 team/chat@main*-0.3

An input is `NS/NAME[@REVISION][*WEIGHT]`: the weight stands after the last `*`, which neither names
nor revisions hold. Options are named as parameters are, and read by their unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plait.errors import InvalidInput
from plait.model.address import Address
from plait.model.finite_numbers import parse_number
from plait.model.recipe import FORMAT, Recipe
from plait.model.recipe_fields import invalid_recipe
from plait.model.recipe_input import RecipeInput
from plait.model.recipe_parameters import parse_options

FORM = "NS/NAME[@REVISION][*WEIGHT], as team/sql@v2*0.7"
RECIPE_OPTIONS = ("dtype", "saved_modules", "allow")
"""What a recipe has besides its method's parameters; `allow` is a list with commas."""


def parse_input(text: str) -> RecipeInput:
    """Return an input as it is typed.

    Raises:
        InvalidInput: `invalid-recipe`; the message shows the form.
    """
    address, weight = split_weight(text)
    try:
        parsed = Address.parse(address)
    except InvalidInput as error:
        raise invalid_recipe(
            f"{text!r:.200} is no input of a recipe, which is {FORM}: {error.message}"
        ) from error
    return RecipeInput(adapter=str(parsed.repository), revision=parsed.revision, weight=weight)


def split_weight(text: str) -> tuple[str, float]:
    """Return what stands before the last `*`, and the weight after it: 1 where there is none.

    Raises:
        InvalidInput: as `parse_input`.
    """
    name, star, factor = text.rpartition("*")
    if not star:
        return text, 1.0
    try:
        return name, parse_number(factor)
    except ValueError as error:
        raise invalid_recipe(
            f"{factor!r:.80} in {text!r:.200} is no weight, which must be {error}: an input is "
            f"{FORM}."
        ) from error


def recipe_from_options(method: str, inputs: Sequence[str], options: Mapping[str, str]) -> Recipe:
    """Return the recipe of a method, inputs as `parse_input` takes them, and options as text.

    Raises:
        InvalidInput: `invalid-recipe`, as `Recipe.from_json` does.
    """
    document: dict[str, object] = {
        "format": FORMAT,
        "method": method,
        "inputs": [parse_input(text).to_json() for text in inputs],
        "parameters": parse_options(
            {name: text for name, text in options.items() if name not in RECIPE_OPTIONS}, method
        ),
    }
    for name in options.keys() & set(RECIPE_OPTIONS):
        document[name] = options[name].split(",") if name == "allow" else options[name]
    return Recipe.from_json(document)
