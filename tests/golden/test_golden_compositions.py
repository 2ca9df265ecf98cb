"""Compositions of the demo's adapters give the bytes that they gave when they were written down.

`compositions/recipes.json` holds pinned recipes, whose inputs are folders of `examples/micro`, and
`compositions/digests.json` the manifest and the weights that each gives. A digest is never edited
to make a test pass: where one differs, the arithmetic changed, and `plait.compose.ARITHMETIC` has
to change with it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from plait.compose_folder import ComposedInput, Workplace, compose_folder
from plait.describe import describe_folder
from plait.model.recipe import Recipe

FOLDER = Path(__file__).parent / "compositions"
RECIPES: dict[str, Any] = json.loads((FOLDER / "recipes.json").read_text())
DIGESTS: dict[str, dict[str, str]] = json.loads((FOLDER / "digests.json").read_text())


def carry_out(name: str, micro: Path, into: Path, *, threads: int = 1) -> dict[str, str]:
    """Carry a recipe out, and return the digests of what came of it."""
    recipe = Recipe.from_json(RECIPES[name])
    inputs = []
    for item in recipe.inputs:
        folder = micro / "adapters" / item.adapter.removeprefix("micro/").replace("-", "/")
        inputs.append(ComposedInput(item.adapter, folder, describe_folder(folder).manifest))
    base = micro / "base" if recipe.definition.needs_base else None
    into.mkdir()
    compose_folder(recipe, inputs, Workplace(into, base, threads))
    weights = (into / "adapter_model.safetensors").read_bytes()
    return {
        "manifest": describe_folder(into).manifest.id,
        "weights": hashlib.sha256(weights).hexdigest(),
    }


@pytest.mark.timeout(300)  # kernels are compiled the first time
@pytest.mark.parametrize("name", RECIPES)
def test_recipe_gives_its_golden_bytes(name: str, micro_data: Path, tmp_path: Path) -> None:
    assert carry_out(name, micro_data, tmp_path / "out") == DIGESTS[name]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["sum-rank-8", "dare-ties", "sum-energy"])
def test_two_threads_give_the_golden_bytes_too(name: str, micro_data: Path, tmp_path: Path) -> None:
    assert carry_out(name, micro_data, tmp_path / "out", threads=2) == DIGESTS[name]


def test_every_recipe_has_its_digests() -> None:
    assert RECIPES.keys() == DIGESTS.keys()
