"""Recipes and stacks as the first version wrote them; every later one must read them the same.

They are never written anew: when a format grows, files of the new form are added beside them.
"""

import hashlib
from pathlib import Path

import pytest

from plait.model import canonical
from plait.model.ids import CommitId, ManifestId, hash_bytes
from plait.model.recipe import Allowance, Dtype, Recipe, SavedModules
from plait.model.recipe_input import RecipeInput
from plait.model.stack import Stack, StackedAdapter

GOLDEN = Path(__file__).parent
DIGESTS = {
    "recipes/every-field": "c90c58396ae918cdb5be9a26ab2af7439c3e5281c71f88dd8a972c731a6b2724",
    "recipes/weighted-sum": "045d154dae4c76edc19289b65cb6c1d764eb18effc903675d5b17ad635362ab1",
    "stacks/three": "cca0a321345b1ba113f3cd463c2cd5527ba967938d2296b940868148a2ea361c",
}


def read(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def read_recipe(name: str) -> Recipe:
    return Recipe.from_json(canonical.loads(read(f"recipes/{name}")))


def commit(name: bytes) -> CommitId:
    return CommitId(hash_bytes(name))


def test_every_golden_file_has_its_digest() -> None:
    found = {
        f"{folder}/{path.stem}": hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("recipes", "stacks")
        for path in (GOLDEN / folder).iterdir()
    }
    assert found == DIGESTS


@pytest.mark.parametrize("name", ["every-field", "weighted-sum"])
def test_golden_recipe_is_pinned_and_written_again_the_same(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.is_pinned
    assert canonical.dumps(recipe.to_json()) == read(f"recipes/{name}")


def test_golden_recipe_means_what_it_meant() -> None:
    assert read_recipe("every-field") == Recipe(
        method="dare_ties",
        parameters={
            "density": 0.1,
            "majority": "frequency",
            "rank": 16,
            "scale": -1.5,
            "seed": 2**53 - 1,
        },
        inputs=(
            RecipeInput(
                adapter="Team/SQL.v2",
                revision="feature/x~2",
                commit=commit(b"one"),
                weight=0.7,
                modules={
                    "q_proj": 1 / 3,
                    r"layers\.(0|1[0-9])\..*_proj": 0.0,
                    "self_attn.é": 1e-7,
                    "😀": 5e-324,
                },
                layers={"0": 1.0, "10-19": 1e21, "20-": -2.5},
            ),
            RecipeInput(
                adapter="_/prose", commit=commit(b"two"), weight=0.0, modules={"mlp": 1e30}
            ),
            RecipeInput(
                adapter="team/c",
                revision="HEAD",
                commit=commit(b"three"),
                weight=123456789012345680.0,
            ),
        ),
        dtype=Dtype.BF16,
        saved_modules=SavedModules.AVERAGE,
        base=hash_bytes(b"base"),
        allow=frozenset(Allowance),
    )


@pytest.mark.parametrize(
    ("module", "weights"),
    [
        ("model.layers.0.self_attn.q_proj", [0.0, 0.0]),
        ("model.layers.2.self_attn.q_proj", [1 / 3, 0.0]),
        ("model.layers.3.mlp.gate", [0.7, 0.0]),
        ("model.layers.12.mlp", [1e21, 1e30]),
        ("model.layers.20.norm", [-2.5, 0.0]),
        ("model.layers.20.self_attn.é", [1e-7, 0.0]),
        ("lm_head", [0.7, 0.0]),
    ],
)
def test_golden_recipe_has_the_weights_that_it_had(module: str, weights: list[float]) -> None:
    assert read_recipe("every-field").weights_at(module)[:2] == weights


def test_golden_stack_means_what_it_meant() -> None:
    data = read("stacks/three")
    stack = Stack.from_bytes(data)
    first, second = (ManifestId(hash_bytes(name)) for name in (b"m1", b"m2"))
    assert stack.to_bytes() == data
    assert stack == Stack(
        (
            StackedAdapter(adapter="team/sql", commit=commit(b"one"), manifest=first, weight=0.7),
            StackedAdapter(adapter="team/chat", commit=commit(b"two"), manifest=first),
            StackedAdapter(adapter="a/b", commit=commit(b"three"), manifest=second, weight=-1e-7),
        )
    )
