import time
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.ids import hash_bytes
from plait.model.recipe import (
    LARGEST_EXPRESSIONS,
    LARGEST_RECIPE,
    MOST_INPUTS,
    Allowance,
    Dtype,
    Recipe,
    SavedModules,
)
from plait.model.recipe_input import RecipeInput
from plait.model.recipe_methods import METHODS
from reference.recipes import ONE, TWO, document, one_input

SEEDED = "dare"


def refuse(held: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        Recipe.from_json(held)
    assert caught.value.kind == "invalid-recipe"
    return caught.value.message


def test_what_is_not_given_has_its_default() -> None:
    recipe = Recipe.from_json(document())
    assert recipe == Recipe(
        method="sum", inputs=(RecipeInput(adapter="team/sql"), RecipeInput(adapter="team/chat"))
    )
    assert recipe.inputs[0].weight == 1.0
    assert (recipe.dtype, recipe.saved_modules) == (Dtype.AUTO, SavedModules.REFUSE)
    assert not recipe.is_pinned
    assert recipe.definition is METHODS["sum"]


def test_every_field_is_read() -> None:
    base = hash_bytes(b"base")
    item = {
        "adapter": "team/sql",
        "revision": "main",
        "commit": ONE,
        "weight": -0.5,
        "modules": {"q_proj": 1},
        "layers": {"0-3": 0.25},
    }
    recipe = Recipe.from_json(
        document(
            method="ties",
            parameters={"density": 0.5, "majority": "frequency", "rank": 8},
            inputs=[item],
            dtype="BF16",
            saved_modules="average",
            base=base,
            allow=["zero-delta", "base-mismatch"],
        )
    )
    assert recipe.inputs == (
        RecipeInput(
            adapter="team/sql",
            revision="main",
            commit=ONE,
            weight=-0.5,
            modules={"q_proj": 1.0},
            layers={"0-3": 0.25},
        ),
    )
    assert recipe.parameters == {"density": 0.5, "majority": "frequency", "rank": 8}
    assert (recipe.dtype, recipe.saved_modules) == (Dtype.BF16, SavedModules.AVERAGE)
    assert recipe.base == base
    assert recipe.allow == {Allowance.ZERO_DELTA, Allowance.BASE_MISMATCH}
    assert recipe.to_json()["allow"] == ["base-mismatch", "zero-delta"]


def test_null_counts_as_absent_for_what_may_be_absent() -> None:
    empty = document(parameters=None, allow=None, base=None)
    empty["inputs"][0].update(revision=None, commit=None, modules=None, layers=None)
    assert Recipe.from_json(empty) == Recipe.from_json(document())


def test_equal_recipes_have_equal_bytes_whatever_form_their_numbers_had() -> None:
    one = one_input(weight=2, modules={"a": 1, "b": -0.0})
    other = one_input(weight=2.0, modules={"b": 0, "a": 1.0})
    documents = [Recipe.from_json(held).to_json() for held in (one, other)]
    assert canonical.dumps(documents[0]) == canonical.dumps(documents[1])
    assert b'"b":0' in canonical.dumps(documents[0])


def test_order_of_the_inputs_is_part_of_the_recipe() -> None:
    recipe = Recipe.from_json(document())
    swapped = Recipe.from_json(document(inputs=document()["inputs"][::-1]))
    assert recipe != swapped


def test_pinned_recipe_names_commits_and_writes_every_default_down() -> None:
    held = document(method=SEEDED, parameters={"density": 0.5})
    held["inputs"][0]["revision"] = "main"
    pinned = Recipe.from_json(held).pin([ONE, TWO])
    assert pinned.is_pinned
    assert [item.commit for item in pinned.inputs] == [ONE, TWO]
    assert pinned.inputs[0].revision == "main"
    defaults = {
        k: p.default for k, p in METHODS[SEEDED].parameters.items() if p.default is not None
    }
    assert defaults
    assert pinned.parameters == {**defaults, "density": 0.5}
    assert pinned.pin([ONE, TWO]) == pinned
    assert Recipe.from_json(pinned.to_json()) == pinned


def test_pinned_recipe_is_not_pinned_to_another_commit() -> None:
    pinned = Recipe.from_json(document()).pin([ONE, TWO])
    with pytest.raises(InvalidInput, match=r"team/chat@.*another commit"):
        pinned.pin([ONE, ONE])
    with pytest.raises(ValueError, match="shorter"):
        pinned.pin([ONE])


def test_branches_that_turn_out_to_be_one_version_are_refused_when_they_are_pinned() -> None:
    recipe = Recipe.from_json(document())
    with pytest.raises(InvalidInput, match="inputs 1 and 2") as caught:
        recipe.pin([ONE, ONE])
    assert caught.value.kind == "invalid-recipe"


def test_recipe_with_all_commits_is_pinned_even_if_it_lacks_a_parameter() -> None:
    recipe = Recipe.from_json(one_input(commit=ONE) | {"method": SEEDED})
    assert recipe.is_pinned
    assert "seed" not in recipe.parameters


def test_value_is_what_was_given_else_the_default() -> None:
    recipe = Recipe.from_json(document(method=SEEDED, parameters={"density": 0.25}))
    assert recipe.value("density") == 0.25
    assert recipe.value("seed") == METHODS[SEEDED].parameters["seed"].default
    assert recipe.value("rank") is None
    with pytest.raises(KeyError):
        recipe.value("nothing")


def test_weights_of_all_inputs_in_a_module() -> None:
    items = [
        {"adapter": "team/sql", "weight": 0.7, "modules": {"q_proj": 0.25}},
        {"adapter": "team/chat", "weight": 0.3},
    ]
    recipe = Recipe.from_json(document(inputs=items))
    assert recipe.weights_at("model.layers.0.self_attn.q_proj") == [0.25, 0.3]
    assert recipe.weights_at("model.layers.0.self_attn.v_proj") == [0.7, 0.3]
    assert recipe.weight_of(0, "q_proj") == 0.25


def test_pattern_that_fits_no_module_of_its_input_is_refused() -> None:
    recipe = Recipe.from_json(one_input(modules={"qproj": 1}))
    with pytest.raises(InvalidInput, match=r"'qproj' of team/sql .* a\.q_proj"):
        recipe.verify_patterns(0, ["a.q_proj"])
    recipe.verify_patterns(0, ["a.qproj"])


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([], "must be a mapping"),
        (None, "must be a mapping of fields to values, not nothing"),
        ("sum", "must be a mapping of fields to values, not 'sum'"),
        ({}, "add the line `format: plait.recipe/1`"),
        ({1: 2}, "has the field 1, which is no text"),
        (document(format="plait.recipe/2"), "of the format 'plait.recipe/2'"),
        (document(format=1), "must be text"),
        (document(paramters={}), "unknown field 'paramters': did you mean 'parameters'"),
        (document(zzz={}), "unknown field 'zzz': known are allow, base"),
        (document(method=None), "needs 'method'"),
        (document(method="tie"), "no method 'tie': did you mean 'ties'"),
        (document(method="x" * 1_000), "no method 'x"),
        (document(method="x" * 10_000), "over 1024 characters"),
        (document(inputs=[]), "has no inputs"),
        (document(inputs={}), "needs a list 'inputs'"),
        (document(inputs=None), "needs a list 'inputs'"),
        (document(inputs=["team/sql"]), "Input 1 of the recipe must be a mapping"),
        (document(method="negate"), "has 2 inputs, and negate takes at most 1"),
        (one_input() | {"method": "slerp"}, "has 1 input, and slerp takes at least 2"),
        (document(dtype="bf16"), "has 'bf16' as 'dtype', which must be auto or F32 or F16 or BF16"),
        (document(dtype=[]), "has a list as 'dtype'"),
        (document(saved_modules=None), "has nothing as 'saved_modules'"),
        (document(base="team/base"), "fingerprint of 64 hexadecimal digits"),
        (document(base=3), "must be text"),
        (document(allow="zero-delta"), "needs a list 'allow'"),
        (document(allow=["zero-delta", "zero-delta"]), "names the same twice"),
        (document(allow=["all"]), "has 'all' in 'allow'"),
        (document(parameters=[]), "'parameters' must be a mapping"),
        (document(parameters={"rank": 4, "energy": 0.9}), "both 'rank' and 'energy'"),
        (document(parameters={"rnk": 4}), "has no parameter 'rnk': did you mean 'rank'"),
        (document(parameters={"density": 0.5}), "sum has no parameter 'density': known are energy"),
        (document(method="concat", parameters={"rank": 4}), "no parameter 'rank': it takes none"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_name(held: object, message: str) -> None:
    assert message in refuse(held)


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("sum", "rank", 0),
        ("sum", "rank", -1),
        ("sum", "rank", 1.0),
        ("sum", "rank", True),
        ("sum", "rank", "8"),
        ("sum", "rank", None),
        ("sum", "rank", 10**9),
        ("sum", "energy", 0),
        ("sum", "energy", 1.1),
        ("ties", "density", 0),
        ("ties", "density", 1.0000001),
        ("ties", "density", float("nan")),
        ("ties", "density", True),
        ("ties", "majority", "all"),
        ("ties", "majority", ["total"]),
        ("ties", "scale", float("inf")),
        ("ties", "scale", 10**400),
        ("della", "epsilon", 1),
        ("dare", "seed", -1),
        ("dare", "seed", 2**53),
        ("mergekit_ties", "normalize", 1),
        ("mergekit_ties", "normalize", "true"),
    ],
)
def test_value_outside_its_unit_is_refused(method: str, name: str, value: object) -> None:
    message = refuse(document(method=method, parameters={name: value}))
    assert f"The parameter {name!r} of {method} is " in message
    assert "must be " in message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"revision": "main"}, {"revision": "main"}),
        ({}, {"revision": "HEAD"}),
        ({"revision": "@"}, {"revision": "HEAD"}),
        ({"commit": ONE}, {"commit": ONE, "revision": "main"}),
        ({"revision": "main~"}, {"revision": "main~1"}),
        ({}, {"adapter": "Team/SQL"}),
        ({"commit": ONE}, {"adapter": "fork/sql", "commit": ONE}),
    ],
)
def test_same_version_twice_is_refused(one: dict[str, Any], other: dict[str, Any]) -> None:
    items = [{"adapter": "team/sql", **one}, {"adapter": "team/chat"}]
    items.append({"adapter": "team/sql", **other})
    assert "The inputs 1 and 3 of the recipe are the same version" in refuse(document(inputs=items))


def test_two_branches_of_one_adapter_are_two_inputs() -> None:
    items = [{"adapter": "team/sql", "revision": name} for name in ("main", "v1")]
    assert len(Recipe.from_json(document(inputs=items)).inputs) == 2


def test_as_many_inputs_as_a_commit_can_have_parents_and_no_more() -> None:
    items = [{"adapter": f"team/a{number}"} for number in range(MOST_INPUTS + 1)]
    assert len(Recipe.from_json(document(inputs=items[:-1])).inputs) == MOST_INPUTS
    assert f"at most {MOST_INPUTS}" in refuse(document(inputs=items))


def test_recipe_that_would_not_fit_into_a_commit_is_refused() -> None:
    modules = {f"model.layers.{number}.{'x' * 200}": 1 for number in range(LARGEST_RECIPE // 200)}
    assert "fit into a commit" in refuse(one_input(modules=modules))


def test_document_far_beyond_any_recipe_is_refused_before_its_patterns_are_read() -> None:
    names = {f"{number}.{'x' * 1_000}": 1 for number in range(60_000)}
    start = time.perf_counter()
    assert "fit into a commit" in refuse(one_input(modules=names))
    assert time.perf_counter() - start < 5  # seconds; reading them takes minutes


def test_regular_expressions_of_a_recipe_are_bounded_all_together() -> None:
    items = [
        {"adapter": f"team/a{number}", "modules": {f"(?:{'[ab]' * 25})": 1}}
        for number in range(LARGEST_EXPRESSIONS // 100)
    ]
    assert "regular expressions of over" in refuse(document(inputs=items))
    assert len(Recipe.from_json(document(inputs=items[:-10])).inputs) == len(items) - 10


@pytest.mark.parametrize("method", ["cast", "stack"])
@pytest.mark.parametrize("field", ["modules", "layers"])
def test_method_without_arithmetic_takes_no_weights_for_parts(method: str, field: str) -> None:
    held = one_input(**{field: {"1": 0.5}}) | {"method": method}
    assert "no weights for parts" in refuse(held)


def test_cast_keeps_the_weight_and_needs_a_dtype() -> None:
    held = one_input() | {"method": "cast"}
    assert "cast needs a dtype" in refuse(held)
    assert "leave its weight out" in refuse(one_input(weight=0.5) | {"method": "cast"})
    assert Recipe.from_json(held | {"dtype": "F16"}).dtype is Dtype.F16


def test_stack_has_weights_and_says_nothing_about_tensors() -> None:
    held = one_input(weight=0.5) | {"method": "stack"}
    assert Recipe.from_json(held).inputs[0].weight == 0.5
    assert "leave 'dtype' out" in refuse(held | {"dtype": "F16"})
    assert "leave 'saved_modules' out" in refuse(held | {"saved_modules": "first"})


def test_documents_of_other_programs_are_not_changed_by_reading_them() -> None:
    held = one_input(modules={"b": 1, "a": -0.0})
    Recipe.from_json(held)
    assert held == one_input(modules={"b": 1, "a": -0.0})


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("della", {"density": 0.05}),
        ("della", {"density": 0.95, "epsilon": 0.1}),
        ("breadcrumbs", {"density": 0.9, "gamma": 0.2}),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(
    method: str, parameters: dict[str, float]
) -> None:
    with pytest.raises(InvalidInput, match="must"):
        Recipe.from_json(document(method=method, parameters=parameters))
