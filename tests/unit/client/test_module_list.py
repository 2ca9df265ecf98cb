"""Lists of a model's modules: written by somebody, or read from the model's own files."""

from pathlib import Path

import pytest

from plait.errors import InvalidInput, TooLarge
from plait.module_list import LARGEST_LIST, list_modules, read_module_list
from reference.safetensors_writer import write

ONE = ("F16", (2,), bytes(4))


def save(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write(dict.fromkeys(names, ONE)))


def test_lines_are_paths_and_comments_and_blanks_are_none(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# of my model\n\nblocks.0.to_q  # first\n  blocks.1.to_q\r\n")
    assert read_module_list(tmp_path / "list") == {"blocks.0.to_q", "blocks.1.to_q"}


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"\xff\xfe\x00"])
def test_list_that_names_nothing_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(InvalidInput, match="list"):
        read_module_list(tmp_path / "list")


def test_folder_and_what_is_not_there_are_no_lists(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InvalidInput, match="no file"):
            read_module_list(path)


def test_file_that_is_too_large_for_a_list_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "list").open("wb") as file:
        file.truncate(LARGEST_LIST + 1)
    with pytest.raises(TooLarge):
        read_module_list(tmp_path / "list")


def test_modules_of_a_model_are_the_names_of_its_tensors_without_the_last_part(
    tmp_path: Path,
) -> None:
    save(tmp_path / "model-1.safetensors", "blocks.0.to_q.weight", "blocks.0.to_q.bias")
    save(tmp_path / "model-2.safetensors", "blocks.1.to_q.weight")
    assert list_modules(tmp_path) == {"blocks.0.to_q", "blocks.1.to_q"}


def test_modules_of_a_pipeline_have_their_component_in_front(tmp_path: Path) -> None:
    # Two precisions side by side are the same model.
    save(tmp_path / "unet" / "model.safetensors", "mid.to_q.weight")
    save(tmp_path / "unet" / "model.fp16.safetensors", "mid.to_q.weight")
    save(tmp_path / "text_encoder" / "model.safetensors", "layers.0.fc1.weight")
    save(tmp_path / "vae" / "model.safetensors", "conv.weight")
    assert list_modules(tmp_path) == {"unet.mid.to_q", "text_encoder.layers.0.fc1"}


def test_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        list_modules(tmp_path)
    assert caught.value.kind == "base-unknown"
