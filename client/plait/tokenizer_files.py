"""Tokenizers that adapters bring along: two different ones cannot both be the outcome's."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from plait.errors import InvalidInput
from plait.model.manifest import File, Manifest
from plait.model.recipe import Allowance
from plait.partial_file import disk_errors

TOKENIZER_FILES = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "merges.txt",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    }
)
"""What transformers writes for a tokenizer, by the names it uses."""


class Versioned(Protocol):
    """A version of an adapter on this machine."""

    @property
    def label(self) -> str:
        """How messages name it."""

    @property
    def folder(self) -> Path:
        """Where its files are."""

    @property
    def manifest(self) -> Manifest:
        """What its files are."""


def choose_tokenizer(inputs: Sequence[Versioned], allow: Collection[Allowance]) -> Versioned | None:
    """Return the input whose tokenizer the outcome gets; None where nobody has one.

    Raises:
        InvalidInput: `tokenizer-conflict`, two have different ones.
    """
    first: Versioned | None = None
    for item in inputs:
        files = list_tokenizer(item.manifest)
        if not files:
            continue
        if first is None:
            first = item
            continue
        known = {file.path: file.sha256 for file in list_tokenizer(first.manifest)}
        different = [f.path for f in files if known.get(f.path, f.sha256) != f.sha256]
        if different and Allowance.TOKENIZER_CONFLICT not in allow:
            raise InvalidInput(
                "tokenizer-conflict",
                f"{first.label} and {item.label} bring different tokenizers along "
                f"({', '.join(sorted(different))} differ), so that the same text means other tokens"
                " to them. If that does not matter, take the first one's "
                "(--allow tokenizer-conflict).",
                files=sorted(different),
            )
    return first


def copy_tokenizer(
    inputs: Sequence[Versioned], into: Path, *, allow: Collection[Allowance]
) -> None:
    """Copy the tokenizer that the outcome gets; raises as `choose_tokenizer`."""
    chosen = choose_tokenizer(inputs, allow)
    for file in [] if chosen is None else list_tokenizer(chosen.manifest):
        target = into / file.path
        with disk_errors(target):
            shutil.copyfile(chosen.folder / file.path, target)  # type: ignore[union-attr]


def list_tokenizer(manifest: Manifest) -> list[File]:
    """Return a version's tokenizer files."""
    return [file for file in manifest.files if file.path in TOKENIZER_FILES]
