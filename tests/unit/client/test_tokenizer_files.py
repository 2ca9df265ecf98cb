"""Which of several tokenizers an outcome gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from plait.describe import describe_folder
from plait.errors import InvalidInput
from plait.model.manifest import Manifest
from plait.model.recipe import Allowance
from plait.tokenizer_files import choose_tokenizer, copy_tokenizer, list_tokenizer

CONFIG = b'{"peft_type": "LORA", "r": 2}'


@dataclass(frozen=True)
class Version:
    """A version of an adapter in a folder."""

    label: str
    folder: Path
    manifest: Manifest


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "shelf"


def version(shelf: Path, label: str, **files: bytes) -> Version:
    """Return a version with these files, whose names have `_` for the dot."""
    folder = shelf / label
    folder.mkdir(parents=True)
    for name, data in {"adapter_config_json": CONFIG, **files}.items():
        stem, _, ending = name.rpartition("_")
        (folder / f"{stem}.{ending}").write_bytes(data)
    return Version(label, folder, describe_folder(folder).manifest)


def test_only_files_of_a_tokenizer_count(shelf: Path) -> None:
    one = version(shelf, "one", tokenizer_json=b"{}", vocab_txt=b"a", README_md=b"x")
    assert [file.path for file in list_tokenizer(one.manifest)] == ["tokenizer.json", "vocab.txt"]


def test_nobody_has_a_tokenizer(shelf: Path, tmp_path: Path) -> None:
    inputs = [version(shelf, "one"), version(shelf, "two")]
    assert choose_tokenizer(inputs, ()) is None
    (tmp_path / "out").mkdir()
    copy_tokenizer(inputs, tmp_path / "out", allow=())
    assert list((tmp_path / "out").iterdir()) == []


def test_first_input_that_has_one_gives_it(shelf: Path, tmp_path: Path) -> None:
    bare, full = (
        version(shelf, "bare"),
        version(shelf, "full", tokenizer_json=b"{}", vocab_txt=b"a"),
    )
    same = version(shelf, "same", tokenizer_json=b"{}")
    assert choose_tokenizer([bare, full, same], ()) is full
    into = tmp_path / "out"
    into.mkdir()
    copy_tokenizer([bare, full, same], into, allow=())
    assert {path.name: path.read_bytes() for path in into.iterdir()} == {
        "tokenizer.json": b"{}",
        "vocab.txt": b"a",
    }


def test_different_tokenizers_are_refused_by_both_names_and_their_files(shelf: Path) -> None:
    one = version(shelf, "one", tokenizer_json=b"{}", vocab_txt=b"a")
    two = version(shelf, "two", tokenizer_json=b"{ }", vocab_txt=b"b")
    with pytest.raises(InvalidInput) as caught:
        choose_tokenizer([one, version(shelf, "bare"), two], ())
    assert caught.value.kind == "tokenizer-conflict"
    assert caught.value.details == {"files": ["tokenizer.json", "vocab.txt"]}
    assert "one and two bring different tokenizers" in caught.value.message
    assert "--allow tokenizer-conflict" in caught.value.message


def test_first_tokenizer_is_taken_where_that_is_let_pass(shelf: Path) -> None:
    one = version(shelf, "one", tokenizer_json=b"{}")
    two = version(shelf, "two", tokenizer_json=b"{ }")
    assert choose_tokenizer([two, one], {Allowance.TOKENIZER_CONFLICT}) is two
