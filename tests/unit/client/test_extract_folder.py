"""Extraction between two folders: files, names, tokenizers, and what the base's config tells."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.algebra.extract import ExtractOptions
from plait.errors import InvalidInput
from plait.extract_folder import (
    ExtractionPlan,
    ModelPair,
    complete_options,
    describe_task,
    extract_folder,
    find_base_name,
    read_model_config,
)
from plait.model.commit import Base
from reference.safetensors_writer import Content, read_by_library, write

CAUSAL = {"architectures": ["LlamaForCausalLM"]}
PLAN = ExtractionPlan(
    options=ExtractOptions(rank=2), base=Base("team/base", "v1"), task_type="CAUSAL_LM"
)


def tensor(*shape: int, seed: int) -> Content:
    values = np.random.default_rng(seed).standard_normal(shape).astype("<f4")
    return "F32", shape, values.tobytes()


def save(folder: Path, tensors: Mapping[str, Content], config: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(write(tensors))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def models(
    tmp_path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    config: Any = None,
    same: tuple[str, ...] = (),
) -> ModelPair:
    """Return two models of these tensors, which differ in all but `same`."""
    base = {name: tensor(*shape, seed=n) for n, (name, shape) in enumerate(shapes.items())}
    tuned = {
        name: base[name] if name in same else tensor(*shape, seed=100 + n)
        for n, (name, shape) in enumerate(shapes.items())
    }
    return ModelPair(save(tmp_path / "base", base, config), save(tmp_path / "tuned", tuned, config))


SHAPES = {"layers.0.q.weight": (6, 4), "layers.0.norm.weight": (6,), "layers.1.q.weight": (6, 4)}


def run(pair: ModelPair, into: Path, plan: ExtractionPlan = PLAN, *, threads: int = 1) -> Any:
    into.mkdir()
    return extract_folder(pair, plan, into, threads=threads)


def read(folder: Path) -> dict[str, Content]:
    return read_by_library((folder / "adapter_model.safetensors").read_bytes())


def test_folder_holds_weights_and_a_configuration_that_names_the_base(tmp_path: Path) -> None:
    run(models(tmp_path, SHAPES), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert (config["base_model_name_or_path"], config["revision"]) == ("team/base", "v1")
    assert (config["task_type"], config["r"]) == ("CAUSAL_LM", 2)
    assert config["modules_to_save"] == ["norm"]
    prefix = "base_model.model.layers"
    assert sorted(read(tmp_path / "out")) == [
        f"{prefix}.0.norm.weight",
        f"{prefix}.0.q.lora_A.weight",
        f"{prefix}.0.q.lora_B.weight",
        f"{prefix}.1.q.lora_A.weight",
        f"{prefix}.1.q.lora_B.weight",
    ]


def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    pair = models(tmp_path, {f"layers.{n}.q.weight": (6, 4) for n in range(12)})
    run(pair, tmp_path / "one", threads=1)
    run(pair, tmp_path / "four", threads=4)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "four" / name).read_bytes()


def test_module_without_a_bias_gets_one_of_zero_where_another_has_one(tmp_path: Path) -> None:
    shapes = {"a.weight": (6, 4), "a.bias": (6,), "b.weight": (6, 4)}
    run(models(tmp_path, shapes), tmp_path / "out")
    tensors = read(tmp_path / "out")
    assert any(tensors["base_model.model.a.lora_B.bias"][2])
    assert tensors["base_model.model.b.lora_B.bias"] == ("F32", (6,), bytes(24))


def test_failure_in_the_middle_leaves_no_unfinished_weights(tmp_path: Path) -> None:
    pair = models(tmp_path, SHAPES)
    bad = np.full((6, 4), np.nan, "<f4").tobytes()
    tensors = {**read_by_library((pair.tuned / "model.safetensors").read_bytes())}
    tensors["layers.1.q.weight"] = ("F32", (6, 4), bad)
    save(pair.tuned, tensors)
    with pytest.raises(InvalidInput, match=r"layers\.1\.q\.weight") as caught:
        run(pair, tmp_path / "out")
    assert caught.value.kind == "tensor-not-finite"
    assert list((tmp_path / "out").iterdir()) == []


# --- tokenizers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "tuned", "copied"),
    [
        ({}, {}, []),
        ({"tokenizer.json": "1"}, {}, []),
        ({"tokenizer.json": "1"}, {"tokenizer.json": "1"}, []),
        (
            {"tokenizer.json": "1", "tokenizer_config.json": "1"},
            {"tokenizer.json": "1", "tokenizer_config.json": "2"},
            ["tokenizer.json", "tokenizer_config.json"],
        ),
        ({}, {"tokenizer.json": "1"}, ["tokenizer.json"]),
        ({}, {"README.md": "1"}, []),
    ],
)
def test_tokenizer_of_the_fine_tune_comes_along_whole_where_it_is_another(
    tmp_path: Path, base: dict[str, str], tuned: dict[str, str], copied: list[str]
) -> None:
    pair = models(tmp_path, SHAPES)
    for folder, files in ((pair.base, base), (pair.tuned, tuned)):
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    run(pair, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert sorted(names - {"adapter_config.json", "adapter_model.safetensors"}) == copied


# --- what the base's configuration tells ----------------------------------------------------------


def test_tied_heads_and_transposed_matrices_are_told_by_the_config(tmp_path: Path) -> None:
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
    shapes = {"transformer.wte.weight": (8, 4), "transformer.h.0.attn.c_attn.weight": (4, 12)}
    pair = models(tmp_path, shapes, config=config)
    found = complete_options(pair, ExtractOptions(rank=2, transposed=("mine",)))
    # Only patterns that fit a module: others would be refused.
    assert found.transposed == ("c_attn", "mine")
    assert found.tied_heads == {"lm_head": "transformer.wte"}
    run(pair, tmp_path / "out", replace(PLAN, options=replace(found, transposed=("c_attn",))))
    tensors = read(tmp_path / "out")
    prefix = "base_model.model"
    assert tensors[f"{prefix}.transformer.h.0.attn.c_attn.lora_B.weight"][1] == (12, 2)
    assert tensors[f"{prefix}.lm_head.lora_B.weight"][1] == (8, 2)
    assert tensors[f"{prefix}.transformer.wte.lora_embedding_A"][1] == (2, 8)


def test_tied_head_that_was_named_counts_more_than_the_config(tmp_path: Path) -> None:
    pair = models(tmp_path, {"embed_tokens.weight": (8, 4)}, config=CAUSAL)
    options = ExtractOptions(rank=2, tied_heads={"lm_head": "other"})
    assert complete_options(pair, options).tied_heads == {"lm_head": "other"}


def test_name_of_the_base_is_what_its_config_says(tmp_path: Path) -> None:
    folder = save(tmp_path / "base", {}, {"_name_or_path": "meta/llama", **CAUSAL})
    assert find_base_name(folder) == "meta/llama"
    assert describe_task(folder) == "CAUSAL_LM"


@pytest.mark.parametrize("name", [None, "", "/data/llama", "./llama", "~/llama", "C:\\llama", 3])
def test_name_that_means_nothing_elsewhere_has_to_be_given(tmp_path: Path, name: Any) -> None:
    folder = save(tmp_path / "base", {}, {"_name_or_path": name})
    with pytest.raises(InvalidInput, match="--base") as caught:
        find_base_name(folder)
    assert caught.value.kind == "base-unknown"


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, '"x"', "\udcff"])
def test_config_that_is_no_object_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInput, match=r"config\.json"):
        read_model_config(tmp_path)


def test_model_without_a_config_tells_nothing(tmp_path: Path) -> None:
    assert read_model_config(tmp_path) == {}
    assert describe_task(tmp_path) is None
