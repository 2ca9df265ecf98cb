"""Compositions as scripts make them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plait
from plait.errors import InvalidInput, NotFound
from plait.model.commit import OriginKind
from plait.registry import Registry

pytestmark = pytest.mark.timeout(300)
# Kernels are compiled the first time that anything is composed on a machine.


@pytest.fixture
def inputs(
    registry: Registry, repository_name: Callable[[], str], micro_data: Path
) -> dict[str, str]:
    """Two adapters, as the repositories that hold them."""
    found = {}
    for version in ("cpp/v3", "prose/v2"):
        name = repository_name()
        registry.create(name).push(micro_data / "adapters" / version, message=version)
        found[version] = name
    return found


@pytest.fixture
def recipe(inputs: dict[str, str]) -> dict[str, Any]:
    """A weighted sum of both."""
    weights = (0.7, 0.3)
    return {
        "format": "plait.recipe/1",
        "method": "sum",
        "parameters": {"rank": 8},
        "inputs": [
            {"adapter": name, "weight": weight}
            for name, weight in zip(inputs.values(), weights, strict=True)
        ],
    }


CREATE = plait.ComposeOptions(create=True)


def test_composition_is_pushed_and_reproduced(
    registry: Registry, repository_name: Callable[[], str], recipe: dict[str, Any]
) -> None:
    name = repository_name()
    made = registry.compose(recipe, f"{name}@trial", message="Both", options=CREATE)
    commit = registry.repository(name).show("trial").commit
    assert commit.message == "Both"
    assert commit.origin.kind is OriginKind.COMPOSITION
    assert [report.rank for report in made.reports] == [8] * len(made.reports)
    again = registry.repository(name).reproduce("trial", threads=2)
    assert (again.is_same, again.commit, again.actual) == (True, made.commit, made.manifest)


def test_recipe_is_taken_in_every_form_and_gives_one_version(
    registry: Registry,
    repository_name: Callable[[], str],
    recipe: dict[str, Any],
    tmp_path: Path,
) -> None:
    name = repository_name()
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    first = registry.compose(recipe, name, options=CREATE)
    assert first.result is not None
    for form in (plait.Recipe.from_json(recipe), path, str(path)):
        again = registry.compose(form, name)
        assert (again.commit, again.result) == (first.commit, None)


def test_preview_says_how_the_inputs_interfere_and_makes_nothing(
    registry: Registry, recipe: dict[str, Any], inputs: dict[str, str]
) -> None:
    seen = registry.preview(recipe)
    assert seen.interference is not None
    total = seen.interference.total
    assert total.cosines[0][1] is not None
    assert -1.0 < total.cosines[0][1] < 1.0
    assert 0.0 < total.kept < 1.0
    assert [label.partition("@")[0] for label in seen.labels] == list(inputs.values())
    assert {len(list(registry.repository(name).log())) for name in inputs.values()} == {1}


def test_preview_refuses_what_the_composition_refuses(
    registry: Registry, repository_name: Callable[[], str], recipe: dict[str, Any]
) -> None:
    impossible = {**recipe, "parameters": {"rank": 999}}
    with pytest.raises(InvalidInput) as previewed:
        registry.preview(impossible)
    with pytest.raises(InvalidInput) as composed:
        registry.compose(impossible, repository_name(), options=CREATE)
    assert previewed.value.kind == composed.value.kind == "rank-invalid"
    assert previewed.value.message == composed.value.message


def test_stack_is_pulled_with_its_members(
    registry: Registry,
    repository_name: Callable[[], str],
    recipe: dict[str, Any],
    inputs: dict[str, str],
) -> None:
    name = repository_name()
    stacked = {**recipe, "method": "stack", "parameters": {}}
    made = registry.compose(stacked, name, options=CREATE)
    stack = registry.repository(name).pull_stack()
    assert stack.pulled.commit == made.commit
    assert [(member.adapter, member.weight) for member in stack.members] == list(
        zip(inputs.values(), (0.7, 0.3), strict=True)
    )
    assert all((m.pulled.path / "adapter_model.safetensors").is_file() for m in stack.members)


def test_file_that_is_not_there_is_no_standard_input(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="rename it"):
        registry.compose("-", "team/never")
    with pytest.raises(NotFound, match=r"blend\.yaml"):
        registry.compose("blend.yaml", "team/never")
