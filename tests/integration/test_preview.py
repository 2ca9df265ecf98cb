"""What is known about a composition before it is made, over a real registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plait.cache import Cache
from plait.errors import InvalidInput
from plait.http_transport import HttpTransport
from plait.model.recipe import FORMAT, Recipe
from plait.preview import Preview, PreviewWish, preview_composition
from plait.registry import Registry
from plait.transport import Transport

pytestmark = pytest.mark.timeout(300)  # kernels are compiled the first time


@pytest.fixture
def transport(registry_server: Any) -> Iterator[Transport]:
    opened = HttpTransport(registry_server.url, registry_server.token)
    yield opened
    opened.close()


@pytest.fixture
def inputs(
    registry: Registry, repository_name: Callable[[], str], micro_data: Path
) -> tuple[str, str]:
    names = repository_name(), repository_name()
    for name, folder in zip(names, ("cpp/v3", "prose/v2"), strict=True):
        registry.create(name).push(micro_data / "adapters" / folder, message="x")
    return names


@pytest.fixture
def look(transport: Transport, tmp_path: Path) -> Callable[..., Preview]:
    def preview(*names: str, method: str = "sum", **fields: Any) -> Preview:
        items = [{"adapter": name} for name in names]
        document = {"format": FORMAT, "method": method, "inputs": items, **fields}
        wish = PreviewWish(recipe=Recipe.from_json(document), threads=2)
        return preview_composition(transport, Cache(tmp_path / "cache"), wish)

    return preview


def test_interference_ranks_and_dtype_are_told_for_every_module(
    look: Callable[..., Preview], inputs: tuple[str, str]
) -> None:
    found = look(*inputs, parameters={"rank": 4})
    assert found.recipe.is_pinned
    assert [label.partition("@")[0] for label in found.labels] == list(inputs)
    assert found.dtype == "BF16"
    assert found.interference is not None
    assert {module.rank for module in found.interference.modules} == {4}
    document = json.loads(json.dumps(found.to_json()))
    assert document["interference"]["modules"]
    assert document["recipe"]["inputs"][0]["commit"]


@pytest.mark.parametrize("method", ["stack", "cast"])
def test_what_needs_no_deltas_has_no_interference(
    method: str, look: Callable[..., Preview], inputs: tuple[str, str]
) -> None:
    names = inputs if method == "stack" else inputs[:1]
    fields = {} if method == "stack" else {"dtype": "F16"}
    found = look(*names, method=method, **fields)
    assert found.interference is None
    assert found.dtype == fields.get("dtype")


def test_one_input_as_it_is_is_said_to_be_itself(
    look: Callable[..., Preview], inputs: tuple[str, str]
) -> None:
    found = look(inputs[0], method="concat")
    assert any("byte for byte" in remark for remark in found.remarks)


def test_nothing_is_written_or_pushed(
    look: Callable[..., Preview], inputs: tuple[str, str], registry: Registry
) -> None:
    before = [registry.repository(name).refs() for name in inputs]
    look(*inputs)
    assert [registry.repository(name).refs() for name in inputs] == before


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"parameters": {"rank": 999}}, "rank-invalid"),
        ({"method": "mergekit_slerp"}, "delta-missing"),
    ],
)
def test_what_refuses_the_composition_refuses_its_preview(
    fields: dict[str, Any], kind: str, look: Callable[..., Preview], inputs: tuple[str, str]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        look(*inputs, **fields)
    assert caught.value.kind == kind


def test_different_tokenizers_are_refused_before_anything_is_computed(
    look: Callable[..., Preview],
    registry: Registry,
    repository_name: Callable[[], str],
    micro_data: Path,
    tmp_path: Path,
) -> None:
    names = repository_name(), repository_name()
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(micro_data / "adapters/cpp" / f"v{number + 1}", folder)
        (folder / "tokenizer.json").write_text(json.dumps({"number": number}))
        registry.create(name).push(folder, message="x")
    with pytest.raises(InvalidInput) as caught:
        look(*names)
    assert caught.value.kind == "tokenizer-conflict"
    assert look(*names, allow=["tokenizer-conflict"]).interference is not None


def test_pair_of_the_same_direction_has_a_cosine_of_one(
    look: Callable[..., Preview],
    registry: Registry,
    repository_name: Callable[[], str],
    micro_data: Path,
    tmp_path: Path,
) -> None:
    twice = tmp_path / "twice"
    shutil.copytree(micro_data / "adapters/cpp/v3", twice)
    config = json.loads((twice / "adapter_config.json").read_text())
    config["lora_alpha"] *= 2
    (twice / "adapter_config.json").write_text(json.dumps(config))
    names = repository_name(), repository_name()
    for name, folder in zip(names, (micro_data / "adapters/cpp/v3", twice), strict=True):
        registry.create(name).push(folder, message="x")
    found = look(*names)
    assert found.interference is not None
    total = found.interference.total
    assert total.norms[1] == pytest.approx(2 * total.norms[0])
    assert total.cosines[0][1] == pytest.approx(1.0)
