"""A base model's folder as a version: which of its files belong to it, and its card.

- Files directly in the folder belong to a version: safetensors, configurations, the tokenizer's
  files, words about the model. Links are followed, since caches of models are made of them.
- Weights in other formats, programs, and whatever plait does not know are left out, and told.
- The card is computed from the tensors; one that lies in the folder says only what the model is
  called.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait.adapter_folder import read_config
from plait.errors import InvalidInput
from plait.fingerprint import digest_weights, list_weights
from plait.model.adapter import FILE_NAME as ADAPTER_CONFIG
from plait.model.base_card import FILE_NAME, BaseCard
from plait.model.base_fingerprint import NamedTensor
from plait.model.base_layout import find_model_name, find_tied_heads
from plait.model.base_version import find_mismatches
from plait.model.commit import Base
from plait.model.paths import FilePath, is_safetensors, parse_path
from plait.model.quantization import find_quantization
from plait.model.stack import FILE_NAME as STACK_NAME
from plait.progress import NO_PROGRESS, Progress

_SUFFIXES = (".json", ".jinja", ".md", ".model", ".tiktoken", ".txt")
_WORDS = re.compile(r"(license|licence|notice|use_policy|readme)([._-].*)?", re.IGNORECASE)
_SNAPSHOT = re.compile(r"models--(.+)")
"""How the Hub's cache names a model's folder, with `--` for `/`."""


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """What lies in a base model's folder."""

    weights: dict[FilePath, Path]
    """Safetensors files, with links resolved."""
    others: dict[FilePath, Path]
    left_out: tuple[str, ...]
    """Names of files and folders that are no part of a version."""


def list_base_files(folder: Path) -> BaseFiles:
    """Return the files of a base model.

    Raises:
        InvalidInput: `base-unknown`, there are no weights, some of them are missing, or it is an
            adapter's folder.
    """
    if (folder / ADAPTER_CONFIG).exists():
        raise InvalidInput(
            "base-unknown",
            f"{folder} holds an {ADAPTER_CONFIG}, so it is an adapter's: push it with `plait "
            "push`, or name the folder of its base model.",
        )
    weights = list_weights(folder)
    others: dict[FilePath, Path] = {}
    left_out = []
    for entry in sorted(folder.iterdir()):
        if is_safetensors(entry.name) or entry.name == FILE_NAME:
            continue
        if entry.is_file() and entry.name != STACK_NAME and _belongs(entry.name):
            others[parse_path(entry.name)] = entry.resolve()
        else:
            left_out.append(entry.name)
    return BaseFiles(weights, others, tuple(left_out))


def make_card(folder: Path, tensors: Iterable[NamedTensor], base: Base) -> BaseCard:
    """Return the card of the model in `folder`, of these tensors and called as `base` says.

    Raises:
        InvalidInput: `invalid-base-card`.
    """
    entries = list(tensors)
    config, names = read_config(folder), {tensor.name for tensor in entries}
    tied = find_tied_heads(config, names)
    return BaseCard.of(
        base,
        entries,
        quantization=_read_quantization(config, names),
        tied={f"{head}.weight": f"{other}.weight" for head, other in tied.items()},
    )


def _read_quantization(config: Mapping[str, Any], names: Collection[str]) -> dict[str, Any] | None:
    """Return what the configuration says about a model whose tensors are quantised.

    One that says how to quantise original weights while they are loaded means nothing here.
    """
    found = find_quantization(config, names)
    if found is None:
        return None
    told = config.get("quantization_config")
    return dict(told) if isinstance(told, dict) else {"quant_method": found.method}


def verify_base_folder(
    folder: Path, card: BaseCard, label: str, progress: Progress = NO_PROGRESS
) -> None:
    """Read all weights of a folder, and check that they are the card's, which is that of `label`.

    Raises:
        InvalidInput: `base-mismatch`, with the names of the first tensors that differ;
            `base-unknown`, it holds no whole base.
    """
    tables = digest_weights(list_weights(folder), progress=progress).values()
    found = list(find_mismatches(card, (tensor for table in tables for tensor in table.entries)))
    if found:
        names = "; ".join(map(str, found[:3]))
        raise InvalidInput(
            "base-mismatch",
            f"{folder} is not {label}: {len(found)} of its tensors differ. {names}.",
            tensors=[item.name for item in found[:20]],
            count=len(found),
        )


def find_name(folder: Path) -> Base | None:
    """Return what the model in `folder` is called: by a card there, the Hub's cache, its config.

    Raises:
        InvalidInput: the card is malformed.
    """
    card = folder / FILE_NAME
    if card.is_file():
        found = BaseCard.from_bytes(card.read_bytes())
        return Base(found.name, found.revision)
    parents = folder.absolute().parents
    cached = _SNAPSHOT.fullmatch(parents[1].name) if len(parents) > 1 else None
    if cached is not None and folder.absolute().parent.name == "snapshots":
        return Base(cached[1].replace("--", "/"), folder.name)
    name = find_model_name(read_config(folder))
    return None if name is None else Base(name)


def _belongs(name: str) -> bool:
    return not name.startswith(".") and (
        name.lower().endswith(_SUFFIXES) or _WORDS.fullmatch(name) is not None
    )
