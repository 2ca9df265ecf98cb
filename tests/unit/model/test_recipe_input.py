from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model.ids import CommitId
from plait.model.recipe_input import RecipeInput
from reference.recipes import ONE

DOWN = "model.layers.3.mlp.experts.7.down_proj"
QUERY = "model.layers.3.self_attn.q_proj"


def parse(**fields: Any) -> RecipeInput:
    return RecipeInput.from_json({"adapter": "team/sql", **fields}, number=2)


def refuse(**fields: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse(**fields)
    assert caught.value.kind == "invalid-recipe"
    assert caught.value.message.startswith("Input 2 ")
    return caught.value.message


def test_input_is_named_as_people_name_versions() -> None:
    assert parse().label == "team/sql"
    assert parse(revision="v1").label == "team/sql@v1"
    assert parse(revision="v1", commit=ONE).label == f"team/sql@{ONE[:12]}"


def test_longest_pattern_counts_then_the_layer_then_the_whole() -> None:
    item = parse(
        weight=0.1,
        modules={"q_proj": 0.2, "self_attn.q_proj": 0.3},
        layers={"0-2": 0.4, "3": 0.5},
    )
    assert item.weight_of(QUERY) == 0.3
    assert item.weight_of("q_proj") == 0.2
    assert item.weight_of(DOWN) == 0.5
    assert item.weight_of("model.layers.4.mlp.up_proj") == 0.1
    assert item.weight_of("lm_head") == 0.1


@pytest.mark.parametrize("keys", [("b", "a"), ("a", "b")])
def test_order_of_keys_decides_nothing(keys: tuple[str, str]) -> None:
    modules = dict.fromkeys(keys, 0.5) | {"x.a": 0.25}
    assert parse(modules=modules).weight_of("m.x.a") == 0.25
    assert list(parse(modules=modules).modules) == sorted(modules)


def test_patterns_of_one_length_that_disagree_about_a_module_are_refused_by_name() -> None:
    item = parse(modules={r".*_proj": 0.5, "q_projX": 1, "[q].{5}": 1})
    with pytest.raises(InvalidInput, match=r"of team/sql both match the module .*q_proj") as caught:
        item.weight_of(QUERY)
    assert caught.value.kind == "invalid-recipe"


def test_patterns_of_one_length_that_agree_are_no_conflict() -> None:
    assert parse(modules={r".*_proj": 0.5, "[q].{5}": 0.5}).weight_of(QUERY) == 0.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"adapter": None}, "needs 'adapter'"),
        ({"adapter": 3}, "has 3 as 'adapter', which must be text"),
        ({"adapter": "sql"}, "expected NAMESPACE/NAME"),
        ({"adapter": "team/sql@main"}, "revision: main"),
        ({"revision": ""}, "not a revision"),
        ({"revision": 1.0}, "put it in quotes"),
        ({"revision": "a..b"}, "not well-formed"),
        ({"revision": "a" * 2_000}, "over 1024 characters"),
        ({"commit": "3fa9c2d"}, "all 64 digits of a commit id"),
        ({"wieght": 1}, "did you mean 'weight'?"),
        ({"weight": None}, "has nothing as 'weight'"),
        ({"weight": "0.7"}, "has '0.7' as 'weight', which must be a finite number"),
        ({"weight": True}, "has True as 'weight'"),
        ({"weight": float("nan")}, "has nan as 'weight', which must be a finite number"),
        ({"weight": float("inf")}, "has inf as 'weight'"),
        ({"weight": 2e30}, "at most 1e+30"),
        ({"weight": 10**5_000}, "has a huge whole number as 'weight'"),
        ({"weight": 0}, "weight 0 everywhere"),
        ({"weight": -0.0, "modules": {"a": 0}, "layers": {"1": 0}}, "weight 0 everywhere"),
        ({"modules": ["a"]}, "'modules', must be a mapping"),
        ({"modules": {"a": float("nan")}}, "for 'a' in 'modules'"),
        ({"modules": {"": 1}}, "empty pattern"),
        ({"modules": {"(a": 1}}, "opens a group that is not closed"),
        ({"modules": {"(a*)*": 1}}, "repeats something that repeats itself"),
        ({"modules": {3: 1}}, "has the field 3"),
        ({"layers": {"a": 1}}, "has 'a' in 'layers': expected a layer's number"),
        ({"layers": {"3-1": 1}}, "it ends before it begins"),
        ({"layers": {"0-3": 1, "2-5": 1}}, "in '0-3' and in '2-5'"),
        ({"layers": {"3": None}}, "has nothing for '3' in 'layers'"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_input(fields: dict[str, Any], message: str) -> None:
    assert message in refuse(**fields)


def test_weight_zero_in_general_is_allowed_where_a_part_has_another() -> None:
    item = parse(weight=0, modules={"q_proj": 1})
    assert (item.weight_of(QUERY), item.weight_of(DOWN)) == (1.0, 0.0)


def test_patterns_and_layers_must_mean_some_module() -> None:
    item = parse(modules={"q_proj": 1}, layers={"3": 1})
    item.verify_patterns([QUERY])
    with pytest.raises(InvalidInput, match="pattern 'q_proj' of team/sql fit none"):
        item.verify_patterns([DOWN])
    with pytest.raises(InvalidInput, match=r"layers '3' .* and 3 more\."):
        item.verify_patterns([f"m.layers.{number}.q_proj" for number in (*range(3), *range(4, 9))])
    with pytest.raises(InvalidInput, match="layers '3'"):
        item.verify_patterns(["q_proj"])


def test_identity_is_the_commit_where_there_is_one() -> None:
    commit = CommitId(ONE)
    assert parse(commit=commit).identity == parse(adapter="other/sql", commit=commit).identity
    assert parse().identity != parse(revision="v1").identity
