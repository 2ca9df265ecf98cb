"""Bases over a real server: pushed with and without weights, found again by their adapters."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person
from plait.fingerprint import fingerprint_base
from plait.model.base_card import BaseCard
from reference.bases import TENSORS, fingerprint_by_hand, write_base
from reference.safetensors_writer import write

CPP = ("adapters", "cpp", "v1")


@pytest.fixture
def ada(registry_server: Any, tmp_path: Path) -> Person:
    return make_person(registry_server, tmp_path / "ada")


@pytest.fixture
def name(repository_name: Callable[[], str]) -> str:
    return repository_name()


@pytest.fixture
def model(ada: Person, name: str) -> Path:
    """A small base whose weights no other test has."""
    word = name.encode()
    return write_base(ada.folder / "model", {**TENSORS, "own": ("U8", (len(word),), word)})


def write_adapter(folder: Path, base: str | None, revision: str | None = None) -> Path:
    """Write a LoRA of `TENSORS`' q_proj."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}
    config |= {"base_model_name_or_path": base, "revision": revision}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    module = "base_model.model.layers.0.q_proj"
    tensors = {
        f"{module}.lora_A.weight": ("F32", (1, 2), bytes(8)),
        f"{module}.lora_B.weight": ("F32", (4, 1), bytes(16)),
    }
    (folder / "adapter_model.safetensors").write_bytes(write(tensors))
    return folder


def test_base_is_pushed_with_its_weights_and_twice_sends_nothing(
    ada: Person, name: str, model: Path
) -> None:
    (model / "pytorch_model.bin").write_text("a pickle")
    first = ada.ask("base", "push", "model", name)
    assert first["fingerprint"] == fingerprint_base(model)
    assert (first["new"], first["weights"], first["left_out"]) == (
        True,
        True,
        ["pytorch_model.bin"],
    )
    assert first["name"] == name  # which nobody said
    again = ada.ask("base", "push", "model", name)
    assert (again["new"], again["commit"], again["bytes_sent"]) == (False, first["commit"], 0)
    assert "nothing was sent" in ada.run("base", "push", "model", name)
    shown = ada.ask("repo", "show", name)
    assert (shown["kind"], shown["adapter_type"], shown["base"]) == ("base", "BASE", name)
    assert name in [f"{it['namespace']}/{it['name']}" for it in list_repositories(ada, "base")]
    assert name not in [
        f"{it['namespace']}/{it['name']}" for it in list_repositories(ada, "adapter")
    ]


def list_repositories(ada: Person, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ada.ask("repo", "list", "--kind", kind)["repositories"]
    return found


def test_what_is_pulled_is_a_model_with_its_card(ada: Person, name: str, model: Path) -> None:
    pushed = ada.ask("base", "push", "model", name, "--name", "org/tiny@r1")
    pulled = ada.folder / "pulled"
    ada.run("pull", name, pulled)
    for path in model.iterdir():
        assert (pulled / path.name).read_bytes() == path.read_bytes()
    card = BaseCard.from_bytes((pulled / "plait_base.json").read_bytes())
    assert card.fingerprint == fingerprint_base(pulled) == pushed["fingerprint"]
    assert ada.ask("base", "show", name) == card.to_json()
    assert "org/tiny" in ada.run("base", "show", name)
    # A copy of it says by itself what it is called.
    assert not ada.ask("base", "push", "pulled", name)["new"]


def test_base_without_weights_is_named_like_the_one_with_them(
    ada: Person, name: str, model: Path, repository_name: Callable[[], str]
) -> None:
    whole = ada.ask("base", "push", "model", name, "--name", "org/tiny")
    other = repository_name()
    card = ada.ask("base", "push", "model", other, "--name", "org/tiny", "--manifest-only")
    assert card["fingerprint"] == whole["fingerprint"]
    assert not card["weights"]
    pulled = ada.folder / "pulled"
    ada.run("pull", other, pulled)
    assert sorted(path.name for path in pulled.iterdir()) == ["config.json", "plait_base.json"]
    found = ada.ask("base", "list", "--fingerprint", whole["fingerprint"])["bases"]
    assert {item["repository"] for item in found} == {name, other}


def test_weights_follow_a_card_alone_on_the_same_branch(
    ada: Person, name: str, model: Path
) -> None:
    first = ada.ask("base", "push", "model", name, "--manifest-only", "-m", "Card")
    second = ada.ask("base", "push", "model", name, "-m", "Weights")
    assert second["new"]
    (item,) = ada.ask("base", "list", "--fingerprint", first["fingerprint"])["bases"]
    assert item["commit"] == second["commit"]
    log = [it["commit"]["message"] for it in ada.ask("log", name)["commits"]]
    assert log == ["Weights", "Card"]
    assert len(list(model.iterdir())) == 2


def test_repositories_keep_to_their_kind(
    ada: Person, name: str, model: Path, repository_name: Callable[[], str]
) -> None:
    adapters = repository_name()
    assert model.exists()
    lora = write_adapter(ada.folder / "lora", "org/tiny")
    ada.run("push", "lora", adapters, "-m", "x", "--create")
    assert "holds adapters" in ada.fail("base", "push", "model", adapters)
    ada.run("base", "push", "model", name)
    assert "holds bases" in ada.fail("push", "lora", name, "-m", "x")
    assert "plait push" in ada.fail("base", "push", lora, name)


def test_empty_repository_of_bases_takes_a_base(ada: Person, name: str, model: Path) -> None:
    ada.run("repo", "create", name, "--kind", "base")
    assert ada.ask("base", "push", model, name)["new"]


def test_adapter_that_names_a_fingerprint_has_no_other_base(
    ada: Person, name: str, model: Path, repository_name: Callable[[], str]
) -> None:
    lora, adapters = write_adapter(ada.folder / "lora", name), repository_name()
    ada.run("push", lora, adapters, "-m", "x", "--create", "--base-dir", model)
    changed = shutil.copytree(model, ada.folder / "changed")
    (changed / "model.safetensors").write_bytes(write(TENSORS))
    ada.run("base", "push", "changed", name, "--name", name)
    refused = ada.fail("base", "match", adapters)
    assert "other weights" in refused
    assert fingerprint_base(model) in refused
    pushed = ada.ask("base", "push", "model", name, "--name", name)
    found = ada.ask("base", "match", adapters)
    assert [(it["commit"], it["by"]) for it in found["matches"]] == [
        (pushed["commit"], "fingerprint")
    ]
    assert found["refused"] == []


@pytest.mark.parametrize(
    ("pushed", "wanted", "by"),
    [
        ("r1", "r1", "name and revision"),
        ("r1", None, "name"),
        (None, "r1", "name"),
        ("r1", "r2", None),
    ],
)
def test_base_is_matched_by_name_and_revision(
    ada: Person, name: str, model: Path, pushed: str | None, wanted: str | None, by: str | None
) -> None:
    called = f"{name}@{pushed}" if pushed else name
    ada.run("base", "push", model, name, "--name", called, "--manifest-only")
    write_adapter(ada.folder / "lora", name, wanted)
    if by is None:
        assert "it is the revision r1" in ada.fail("base", "match", "lora")
        return
    (match,) = ada.ask("base", "match", "lora")["matches"]
    assert (match["repository"], match["by"], match["revision"]) == (name, by, pushed)
    assert f"by {by}" in ada.run("base", "match", "lora")


def test_base_of_the_name_with_other_shapes_is_refused_with_the_module(
    ada: Person, name: str
) -> None:
    narrow = {**TENSORS, "layers.0.q_proj.weight": ("F32", (4, 1), bytes(16))}
    write_base(ada.folder / "narrow", narrow)
    ada.run("base", "push", "narrow", name)
    write_adapter(ada.folder / "lora", name)
    assert "q_proj.weight has the shape [4,1], not [4,2]" in ada.fail("base", "match", "lora")


def test_adapter_of_an_unknown_name_is_matched_by_shapes(
    ada: Person, name: str, model: Path
) -> None:
    ada.run("base", "push", model, name)
    for base in ("somebody's/path", None):
        folder = write_adapter(ada.folder / f"lora-{bool(base)}", base)
        found = ada.ask("base", "match", folder)["matches"]
        assert (name, "shapes") in [(it["repository"], it["by"]) for it in found]
        assert {it["by"] for it in found} == {"shapes"}


def test_real_adapters_find_their_base(ada: Person, name: str, micro_data: Path) -> None:
    base = micro_data / "base"
    pushed = ada.ask("base", "push", base, name, "--name", "micro/base")
    assert pushed["fingerprint"] == fingerprint_base(base)
    assert pushed["tied"] == {"lm_head.weight": "model.embed_tokens.weight"}
    found = ada.ask("base", "match", micro_data.joinpath(*CPP))["matches"]
    assert (name, "name") in [(it["repository"], it["by"]) for it in found]


def test_adapter_takes_its_base_from_the_registry(
    ada: Person, name: str, model: Path, repository_name: Callable[[], str]
) -> None:
    pushed = ada.ask("base", "push", model, name, "--name", "org/tiny@r1", "--manifest-only")
    lora, adapters = write_adapter(ada.folder / "lora", "/home/bob/tiny"), repository_name()
    push = ("push", lora, adapters, "-m", "x", "--create", "--base-from")
    assert "--base-from" in ada.fail(*push, name, "--base", "x", status=2)
    assert "no repository" in ada.fail(*push, repository_name())
    ada.run(*push, name)
    (commit,) = ada.ask("log", adapters)["commits"]
    base = {"name": "org/tiny", "revision": "r1", "fingerprint": pushed["fingerprint"]}
    assert commit["commit"]["base"] == base
    assert ada.ask("base", "match", adapters)["matches"][0]["by"] == "fingerprint"


def test_base_that_the_adapter_does_not_fit_is_not_taken(
    ada: Person, name: str, repository_name: Callable[[], str]
) -> None:
    write_base(ada.folder / "other", {"norm.weight": TENSORS["norm.weight"]})
    ada.run("base", "push", "other", name)
    lora = write_adapter(ada.folder / "lora", "org/tiny")
    refused = ada.fail("push", lora, repository_name(), "-m", "x", "--create", "--base-from", name)
    assert "no module layers.0.q_proj" in refused


def test_one_flipped_bit_of_a_folder_is_found_and_named(
    ada: Person, name: str, model: Path
) -> None:
    ada.run("base", "push", model, name, "--manifest-only")
    assert "same bytes" in ada.run("base", "verify", model, name)
    path = model / "model.safetensors"
    whole = path.read_bytes()
    begin = 8 + int.from_bytes(whole[:8], "little")
    for at, tensor in ((begin, "embed_tokens.weight"), (len(whole) - 1, "own")):
        changed = bytearray(whole)
        changed[at] ^= 0x80
        path.write_bytes(changed)
        refused = ada.fail("base", "verify", model, name)
        assert f"1 of its tensors differ. '{tensor}' has other bytes" in refused
    path.write_bytes(write(TENSORS))
    assert "'own' is in plait_base.json and in no file" in ada.fail("base", "verify", model, name)


def test_folder_that_is_no_adapter_is_told(ada: Person, model: Path) -> None:
    assert "adapter_config.json" in ada.fail("base", "match", model)
    assert "usage" not in ada.fail("base", "match", status=2)


def test_version_that_is_no_base_has_no_card(ada: Person, name: str) -> None:
    write_adapter(ada.folder / "lora", "x")
    ada.run("push", "lora", name, "-m", "x", "--create")
    assert "no base" in ada.fail("base", "show", name)


def test_bases_travel_in_bundles(
    ada: Person, name: str, model: Path, repository_name: Callable[[], str]
) -> None:
    pushed = ada.ask("base", "push", model, name)
    ada.run("bundle", "create", "base.bundle", name)
    copy = repository_name()
    ada.run("bundle", "apply", "base.bundle", copy, "--create")
    assert ada.ask("repo", "show", copy)["kind"] == "base"
    assert ada.ask("base", "show", copy)["fingerprint"] == pushed["fingerprint"]


def test_shards_and_their_index_are_pushed_together(ada: Person, name: str) -> None:
    names = sorted(TENSORS)
    folder = write_base(ada.folder / "shards", *({it: TENSORS[it]} for it in names))
    index = {it: f"model-{number}.safetensors" for number, it in enumerate(names, 1)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    pushed = ada.ask("base", "push", folder, name)
    assert pushed["fingerprint"] == fingerprint_by_hand(TENSORS)
    (folder / "model-2.safetensors").unlink()
    assert "model-2.safetensors" in ada.fail("base", "push", folder, name)
