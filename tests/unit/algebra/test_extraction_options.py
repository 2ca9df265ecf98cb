"""The options of an extraction in a commit: complete, and read back strictly."""

import json
from typing import Any

import pytest

from plait.algebra.extract import ExtractOptions
from plait.algebra.extraction_options import options_from_json, options_to_json
from plait.errors import InvalidInput

OPTIONS = ExtractOptions(
    rank=8,
    energy=0.9,
    dtype="BF16",
    embeddings=("wte",),
    transposed=("c_attn",),
    convolutions=("conv",),
    saved=("head",),
    left_out=("norm",),
    is_rest_left_out=True,
    tied_heads={"lm_head": "wte"},
)


@pytest.mark.parametrize("options", [OPTIONS, ExtractOptions(), ExtractOptions(rank=4)])
def test_every_option_survives_json(options: ExtractOptions) -> None:
    document = json.loads(json.dumps(options_to_json(options)))
    assert options_from_json(document) == options


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rank", -1),
        ("rank", True),
        ("rank", 4.0),
        ("energy", "0.9"),
        ("energy", True),
        ("energy", float("nan")),
        ("dtype", "F8"),
        ("dtype", None),
        ("embeddings", "wte"),
        ("saved", [1]),
        ("left_out", None),
        ("rest_left_out", 1),
        ("tied_heads", ["lm_head"]),
        ("tied_heads", {"lm_head": 1}),
        ("seed", 1),
    ],
)
def test_options_of_another_type_are_refused(field: str, value: Any) -> None:
    document = {**options_to_json(OPTIONS), field: value}
    with pytest.raises(InvalidInput) as caught:
        options_from_json(document)
    assert caught.value.kind == "invalid-recipe"


@pytest.mark.parametrize("field", ["dtype", "embeddings", "rest_left_out", "tied_heads"])
def test_option_that_is_missing_is_not_guessed(field: str) -> None:
    document = options_to_json(OPTIONS)
    del document[field]
    with pytest.raises(InvalidInput):
        options_from_json(document)


@pytest.mark.parametrize("document", [None, [], "rank 4"])
def test_what_is_no_object_is_refused(document: Any) -> None:
    with pytest.raises(InvalidInput):
        options_from_json(document)
