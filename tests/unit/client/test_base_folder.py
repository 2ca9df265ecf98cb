from pathlib import Path

import pytest

from plait.base_folder import find_name, list_base_files, make_card
from plait.errors import InvalidInput
from plait.fingerprint import digest_weights
from plait.model.base_card import FILE_NAME
from plait.model.commit import Base
from plait.model.paths import FilePath
from reference.bases import TENSORS, fingerprint_by_hand, write_base
from reference.bases import make_card as card_of


def test_files_of_a_model_are_taken_and_others_told(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    taken = ["tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja"]
    taken += ["README.md", "LICENSE", "USE_POLICY.md", "notice.pdf"]
    left = ("pytorch_model.bin", "modeling_tiny.py", "model.gguf", "stack.json", ".gitattributes")
    for name in (*taken, *left, FILE_NAME):
        (base / name).write_text("{}")
    (base / "original").mkdir()
    files = list_base_files(base)
    assert sorted(files.others) == sorted(["config.json", *taken])
    assert list(files.weights) == ["model.safetensors"]
    assert list(files.left_out) == sorted([*left, "original"])


def test_links_of_a_cache_are_followed(tmp_path: Path) -> None:
    base = write_base(tmp_path / "blobs")
    linked = tmp_path / "models--org--tiny" / "snapshots" / "a1b2c3"
    linked.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (linked / name).symlink_to(base / name)
    (linked / "gone.json").symlink_to(base / "gone.json")
    files = list_base_files(linked)
    assert files.others == {"config.json": base / "config.json"}
    assert files.weights == {"model.safetensors": base / "model.safetensors"}
    assert files.left_out == ("gone.json",)
    assert find_name(linked) == Base("org/tiny", "a1b2c3")


def test_adapter_is_no_base(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    (base / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="plait push"):
        list_base_files(base)


def test_folder_without_weights_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no safetensors"):
        list_base_files(tmp_path)


def test_name_of_a_card_in_the_folder_is_kept(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    assert find_name(base) is None
    (base / "config.json").write_text('{"_name_or_path": "/home/ada/tiny"}')
    assert find_name(base) is None
    (base / "config.json").write_text('{"_name_or_path": "org/named"}')
    assert find_name(base) == Base("org/named")
    (base / FILE_NAME).write_bytes(card_of(name="org/tiny", revision="r2").to_bytes())
    assert find_name(base) == Base("org/tiny", "r2")
    (base / FILE_NAME).write_text("{}")
    with pytest.raises(InvalidInput, match="format"):
        find_name(base)


def test_card_says_what_the_configuration_says(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    files = list_base_files(base)
    tensors = digest_weights(files.weights)[FilePath("model.safetensors")].entries
    card = make_card(base, tensors, Base("org/tiny"))
    assert card.fingerprint == fingerprint_by_hand(TENSORS)
    assert card.tied == {"lm_head.weight": "embed_tokens.weight"}
    assert card.quantization is None
    (base / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    assert make_card(base, tensors, Base("x")).quantization == {"quant_method": "awq"}
    # What people ship to have original weights quantised while they are loaded.
    loading = '{"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}'
    (base / "config.json").write_text(loading)
    assert make_card(base, tensors, Base("x")).quantization is None
    (base / "config.json").unlink()
    bare = make_card(base, tensors, Base("x"))
    assert (bare.tied, bare.quantization) == ({}, None)
