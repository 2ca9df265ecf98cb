"""Conversion of files: which file is meant, what is written under which name, hostile input."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.convert import (
    DIFFUSERS_FILE,
    ConvertWish,
    convert_file,
    convert_to_folder,
    find_weights,
)
from plait.errors import AlreadyExists, InvalidInput, PlaitError, TooLarge
from plait.model.commit import Base
from plait.model.key_layouts.forms import Architecture, Component, Layout
from plait.model.safetensors_layout import MOST_TENSORS
from reference.safetensors_writer import Content, assemble, entry, read_by_library, write

FLAT = "lora_unet_down_blocks_0_attentions_0_proj_in"
PATH = "down_blocks.0.attentions.0.proj_in"
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "team/base"}


def tensor(*shape: int, seed: int = 0) -> Content:
    values = np.random.default_rng(seed).standard_normal(shape).astype("<f2")
    return "F16", shape, values.tobytes()


def kohya(name: str = FLAT, alpha: float | None = 1.0) -> dict[str, Content]:
    tensors = {
        f"{name}.lora_down.weight": tensor(2, 8),
        f"{name}.lora_up.weight": tensor(8, 2, seed=1),
    }
    if alpha is not None:
        tensors[f"{name}.alpha"] = ("F32", (), np.float32(alpha).tobytes())
    return tensors


def peft(path: str = PATH) -> dict[str, Content]:
    return {
        f"base_model.model.{path}.lora_A.weight": tensor(2, 8),
        f"base_model.model.{path}.lora_B.weight": tensor(8, 2, seed=1),
    }


def save(
    path: Path,
    tensors: Mapping[str, Content],
    *,
    metadata: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write(tensors, metadata))
    if config is not None:
        (path.parent / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    return path


def convert(source: Path, **options: Any) -> tuple[Any, Path]:
    into = source.parent.parent / f"out-{time.monotonic_ns()}"
    into.mkdir()
    return convert_file(ConvertWish(source=source, **options), into), into


# --- what is written ------------------------------------------------------------------------------


def test_file_of_kohya_becomes_a_folder_of_peft_that_names_the_base(tmp_path: Path) -> None:
    source = save(tmp_path / "in" / "art.safetensors", kohya())
    converted, into = convert(source, base=Base("team/base", "v1"))
    assert sorted(path.name for path in into.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert read_by_library((into / converted.file).read_bytes()) == peft()
    config = json.loads((into / "adapter_config.json").read_text("utf-8"))
    assert (config["base_model_name_or_path"], config["revision"]) == ("team/base", "v1")
    assert (config["r"], config["lora_alpha"]) == (2, 1)
    assert (converted.source_layout, converted.layout) == (Layout.KOHYA, Layout.PEFT)


def test_alpha_that_is_not_there_is_the_rank(tmp_path: Path) -> None:
    source = save(tmp_path / "in" / "art.safetensors", kohya(alpha=None))
    _, into = convert(source)
    config = json.loads((into / "adapter_config.json").read_text("utf-8"))
    assert config["lora_alpha"] == config["r"] == 2


def test_folder_of_peft_becomes_one_file_of_kohya_named_after_it(tmp_path: Path) -> None:
    save(tmp_path / "pixel art" / "adapter_model.safetensors", peft(), config=CONFIG)
    (tmp_path / "pixel art" / "README.md").write_text("art")
    source = tmp_path / "pixel art"
    converted, into = convert(source / ".", layout=Layout.KOHYA, architecture=Architecture.SD)
    assert [path.name for path in into.iterdir()] == ["pixel art.safetensors"]
    held = read_by_library((into / converted.file).read_bytes())
    assert held[f"{FLAT}.alpha"][2] == np.float32(4).tobytes()
    assert held[f"{FLAT}.lora_down.weight"] == tensor(2, 8)
    assert converted.lost == ("adapter_config.json base_model_name_or_path", "file README.md")


def test_diffusers_finds_its_file_and_the_scale_in_its_metadata(tmp_path: Path) -> None:
    source = save(tmp_path / "in" / "adapter_model.safetensors", peft(), config=CONFIG)
    _, into = convert(source, layout=Layout.DIFFUSERS)
    file = into / DIFFUSERS_FILE
    assert sorted(read_by_library(file.read_bytes())) == [
        f"unet.{PATH}.lora_A.weight",
        f"unet.{PATH}.lora_B.weight",
    ]
    _, back = convert(file)
    config = json.loads((back / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["lora_alpha"]) == (2, 4)
    assert read_by_library((back / "adapter_model.safetensors").read_bytes()) == peft()


def test_scale_of_rslora_is_rounded_to_f32_and_that_is_told(tmp_path: Path) -> None:
    config = {**CONFIG, "use_rslora": True}
    source = save(tmp_path / "in" / "adapter_model.safetensors", peft(), config=config)
    converted, into = convert(source, layout=Layout.KOHYA, architecture=Architecture.SD)
    (error,) = converted.rounded.values()
    assert 0 < error < 1e-7
    held = read_by_library((into / converted.file).read_bytes())
    assert held[f"{FLAT}.alpha"][2] == np.float32(4 * np.sqrt(2)).tobytes()


def test_metadata_that_has_no_place_is_named(tmp_path: Path) -> None:
    metadata = {"format": "pt", "ss_tag_frequency": "{}", "modelspec.title": "art"}
    source = save(tmp_path / "in" / "art.safetensors", kohya(), metadata=metadata)
    converted, _ = convert(source)
    assert converted.lost == ("metadata modelspec.title", "metadata ss_tag_frequency")


def test_one_component_is_taken_and_has_its_own_paths(tmp_path: Path) -> None:
    clip = kohya("lora_te_text_model_encoder_layers_0_mlp_fc1")
    source = save(tmp_path / "in" / "art.safetensors", {**kohya(), **clip})
    both, _ = convert(source)
    one, _ = convert(source, component=Component.TEXT_ENCODER)
    assert (both.tensors, one.tensors) == (4, 2)


def test_destination_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    source = save(tmp_path / "in" / "art.safetensors", kohya())
    wish = ConvertWish(source=source)
    convert_to_folder(wish, tmp_path / "out")
    convert_to_folder(wish, tmp_path / "out")  # the same again
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").write_text("mine")
    with pytest.raises(AlreadyExists):
        convert_to_folder(wish, tmp_path / "other")
    convert_to_folder(wish, tmp_path / "other", force=True)
    assert (tmp_path / "other" / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("pixel", "pixel.safetensors"),
        ("../../etc/passwd", "_.._etc_passwd.safetensors"),
        ("a/b", "a_b.safetensors"),
        ("..", "lora.safetensors"),
        ("x" * 300, f"{'x' * 100}.safetensors"),
        ("a\0b\nc", "a_b_c.safetensors"),
    ],
)
def test_name_of_a_file_of_kohya_is_never_a_path(tmp_path: Path, name: str, file: str) -> None:
    source = save(tmp_path / "in" / "adapter_model.safetensors", peft(), config=CONFIG)
    converted, into = convert(source, layout=Layout.KOHYA, architecture=Architecture.SD, name=name)
    assert converted.file == file
    assert [path.name for path in into.iterdir()] == [file]


# --- which file is meant --------------------------------------------------------------------------


def test_folder_with_two_files_has_to_say_which(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.safetensors", kohya())
    with pytest.raises(InvalidInput, match=r"a\.safetensors, b\.safetensors"):
        find_weights(tmp_path)


def test_folder_without_a_file_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InvalidInput, match="neither a safetensors file nor a folder"):
            find_weights(path)


def test_pickle_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "lora.ckpt").write_bytes(b"\x80\x04.")
    with pytest.raises(InvalidInput) as caught:
        find_weights(tmp_path / "lora.ckpt")
    assert caught.value.kind == "pickle-refused"


def test_names_of_peft_need_the_configuration_beside_them(tmp_path: Path) -> None:
    source = save(tmp_path / "in" / "lora.safetensors", peft())
    with pytest.raises(InvalidInput) as caught:
        convert(source, layout=Layout.KOHYA)
    assert caught.value.kind == "adapter-config-missing"


@pytest.mark.parametrize("layout", [None, Layout.PEFT, Layout.KOHYA])
def test_layout_that_the_file_has_already_is_refused(tmp_path: Path, layout: Layout | None) -> None:
    tensors = kohya() if layout is Layout.KOHYA else peft()
    source = save(tmp_path / "in" / "lora.safetensors", tensors, config=CONFIG)
    with pytest.raises(InvalidInput, match="already"):
        convert(source, layout=layout)


# --- hostile files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 7,
        b"\xff" * 64,
        (1 << 62).to_bytes(8, "little") + b"{}",
        assemble({}),
        assemble(b"[]"),
        assemble({f"{FLAT}.lora_down.weight": entry("F16", [2, 8], 0, 32)}),
        assemble({f"{FLAT}.lora_down.weight": entry("F16", [2**40, 2**40], 0, 4)}, bytes(4)),
        write({"../../x.lora_down.weight": tensor(2, 8)}),
        write({f"{FLAT}.lora_down.weight": tensor(2, 8)}),
        write({f"{FLAT}.lora_up.weight": tensor(8, 2), f"{FLAT}.alpha": tensor()}),
        write({**kohya(), "stranger": tensor(2)}),
        write({**kohya(alpha=None), f"{FLAT}.alpha": tensor(3)}),
        write(kohya(alpha=float("nan"))),
        write(kohya(alpha=0.0)),
        write({f"{FLAT}.lora_mid.weight": tensor(2, 2), **kohya()}),
        write({f"{FLAT}.hada_w1_a": tensor(2, 2)}),
        write(kohya("lora_unet_" + "_".join("ab" * 400))),
    ],
)
def test_malformed_file_is_refused_and_nothing_is_written(tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "in.safetensors"
    source.write_bytes(data)
    with pytest.raises(PlaitError) as caught:
        convert_to_folder(ConvertWish(source=source), tmp_path / "out")
    assert isinstance(caught.value, InvalidInput | TooLarge)
    assert not (tmp_path / "out").exists()


def test_ranks_that_disagree_with_the_configuration_are_refused_by_name(tmp_path: Path) -> None:
    config = {**CONFIG, "r": 3}
    source = save(tmp_path / "in" / "lora.safetensors", peft(), config=config)
    with pytest.raises(InvalidInput, match="down_blocks") as caught:
        convert(source, layout=Layout.DIFFUSERS)
    assert caught.value.kind == "rank-invalid"


def test_file_of_more_than_any_lora_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path / "in" / "lora.safetensors", kohya())
    monkeypatch.setattr("plait.convert.LARGEST_SOURCE", 100)
    with pytest.raises(TooLarge, match="whole model"):
        convert(source)


@pytest.mark.slow
def test_as_many_tensors_as_the_format_allows_are_read_in_seconds(tmp_path: Path) -> None:
    content = ("F16", (1, 1), bytes(2))
    count = MOST_TENSORS // 2
    tensors = {
        f"lora_unet_down_blocks_{n}_attentions_0_proj_in.lora_{side}.weight": content
        for n in range(count)
        for side in ("down", "up")
    }
    source = save(tmp_path / "in" / "lora.safetensors", tensors)
    started = time.process_time()
    modules = [f"down_blocks.{n}.attentions.0.proj_in" for n in range(count)]
    converted, _ = convert(source, modules=modules)
    assert converted.tensors == 2 * count
    assert time.process_time() - started < 60
