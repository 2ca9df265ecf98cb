"""Differences between versions over real HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import plait
from plait.repository import Repository
from served.running import Running, running

PATH = "/api/v1/repositories/team/diff/diff"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def repository(
    registry: Running, micro_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Repository]:
    cache = tmp_path_factory.mktemp("cache")
    with plait.connect(registry.url, token=registry.token, cache_dir=cache) as opened:
        made = opened.create("team/diff")
        for source in ("cpp/v1", "cpp/v2", "tests"):
            made.push(micro_data / "adapters" / source, message=source)
        yield made


@pytest.mark.usefixtures("repository")
def test_diff_of_two_checkpoints_lists_every_tensor_that_training_changed(
    registry: Running,
) -> None:
    answer = registry.client.get(PATH, params={"old": "main~2", "new": "main~1"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["config"] == []
    (change,) = body["manifest"]["changes"]
    assert change["path"] == "adapter_model.safetensors"
    assert len(change["tensors"]["changes"]) == 56


@pytest.mark.usefixtures("repository")
def test_diff_of_two_trainings_names_the_fields_of_the_config_that_changed(
    registry: Running,
) -> None:
    body = registry.client.get(PATH, params={"old": "main~1"}).json()
    assert [change["field"] for change in body["config"]] == ["lora_alpha", "use_rslora"]


@pytest.mark.usefixtures("repository")
def test_diff_with_a_revision_that_is_not_there_is_not_found(registry: Running) -> None:
    answer = registry.client.get(PATH, params={"old": "absent", "new": "main"})
    assert answer.status_code == 404
    assert answer.json()["error"]["kind"] == "revision-not-found"
