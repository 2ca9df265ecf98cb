import pytest

from plait.errors import InvalidInput
from plait.model.recipe import Allowance, Dtype, Recipe, SavedModules
from plait.model.recipe_input import RecipeInput
from plait.model.recipe_methods import METHODS
from plait.model.recipe_shorthand import RECIPE_OPTIONS, parse_input, recipe_from_options
from reference.recipes import document


@pytest.mark.parametrize(
    ("text", "revision", "weight"),
    [
        ("team/sql", None, 1.0),
        ("team/sql@main", "main", 1.0),
        ("team/sql*0.7", None, 0.7),
        ("team/sql@v1.0~2*-1", "v1.0~2", -1.0),
        ("team/sql@feature/x*1e-3", "feature/x", 0.001),
        ("team/sql*.5", None, 0.5),
        ("team/sql*+2.", None, 2.0),
    ],
)
def test_input_has_a_revision_and_a_weight_where_they_are_given(
    text: str, revision: str | None, weight: float
) -> None:
    assert parse_input(text) == RecipeInput(adapter="team/sql", revision=revision, weight=weight)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "sql",
        "sql*0.7",
        "team/sql@",
        "team/sql*",
        "team/sql*nan",
        "team/sql*inf",
        "team/sql*-Infinity",
        "team/sql*1_000",
        "team/sql*0x1",
        "team/sql* 1",
        "team/sql*1 ",
        "team/sql*\u0661",
        "team/sql*1e999",
        "team/sql*1e31",
        "team/sql*0.7@main",
        "0.7*team/sql",
        "team/sql*0.5*0.5",
        "team/sql*" + "1" * 5_000,
    ],
)
def test_other_text_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"NS/NAME\[@REVISION\]\[\*WEIGHT\]") as caught:
        parse_input(text)
    assert caught.value.kind == "invalid-recipe"


def test_line_gives_the_recipe_of_the_document() -> None:
    items = [
        {"adapter": "team/sql", "revision": "v2", "weight": 0.7},
        {"adapter": "team/chat", "weight": -0.3},
    ]
    held = document(
        method="dare_ties",
        inputs=items,
        parameters={"density": 0.5, "seed": 7, "majority": "frequency", "scale": -2.0},
        dtype="BF16",
        saved_modules="first",
        allow=["zero-delta", "base-mismatch"],
    )
    options = {
        "density": ".5",
        "seed": "7",
        "majority": "frequency",
        "scale": "-2",
        "dtype": "BF16",
        "saved_modules": "first",
        "allow": "zero-delta,base-mismatch",
    }
    recipe = recipe_from_options("dare_ties", ["team/sql@v2*0.7", "team/chat*-0.3"], options)
    assert recipe == Recipe.from_json(held)
    assert (recipe.dtype, recipe.saved_modules) == (Dtype.BF16, SavedModules.FIRST)
    assert recipe.allow == {Allowance.ZERO_DELTA, Allowance.BASE_MISMATCH}


@pytest.mark.parametrize("text", ["true", "false"])
def test_flag_is_true_or_false(text: str) -> None:
    recipe = recipe_from_options("mergekit_ties", ["a/b", "a/c"], {"normalize": text})
    assert recipe.parameters == {"normalize": text == "true"}


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("tie", {}, "did you mean 'ties'?"),
        ("ties", {"densty": "0.5"}, "did you mean 'density'?"),
        ("ties", {"density": "0"}, "'density' of ties is '0', and must be a number above 0"),
        ("ties", {"density": "half"}, "must be a number, as 0.7"),
        ("ties", {"rank": "0"}, "'rank' of ties is '0', and must be a whole number from 1"),
        ("ties", {"rank": "8.0"}, "must be a whole number"),
        ("ties", {"rank": "9" * 5_000}, "must be a whole number"),
        ("ties", {"majority": "most"}, "must be total or frequency"),
        ("mergekit_ties", {"normalize": "yes"}, "must be true or false"),
        ("ties", {"dtype": "half"}, "has 'half' as 'dtype'"),
        ("ties", {"allow": "zero-delta,all"}, "has 'all' in 'allow'"),
        ("sum", {"rank": "8", "energy": "0.9"}, "both 'rank' and 'energy'"),
    ],
)
def test_option_that_does_not_fit_is_refused_by_name(
    method: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        recipe_from_options(method, ["a/b", "a/c"], options)
    assert caught.value.kind == "invalid-recipe"
    assert message in caught.value.message


def test_no_parameter_has_the_name_of_a_recipes_own_option() -> None:
    names = {name for method in METHODS.values() for name in method.parameters}
    assert names.isdisjoint(RECIPE_OPTIONS)
    assert names.isdisjoint(document())
