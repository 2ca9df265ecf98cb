"""Small base models: as folders, as cards, and as versions to push to a registry."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plait.model.base_card import FILE_NAME, BaseCard, BaseTensor
from plait.model.commit import Base, OriginKind
from plait.model.ids import CommitId, hash_bytes
from reference.memory_registry import Version, make_version_with
from reference.safetensors_writer import Content, write

TENSORS: dict[str, Content] = {
    "embed_tokens.weight": ("F32", (3, 2), struct.pack("<6f", *range(6))),
    "layers.0.q_proj.weight": ("F32", (4, 2), struct.pack("<8f", *range(8))),
    "norm.weight": ("F32", (2,), struct.pack("<2f", 1, 1)),
}
CONFIG = b'{"architectures": ["TinyForCausalLM"], "tie_word_embeddings": true}'


def fingerprint_by_hand(tensors: Mapping[str, Content]) -> str:
    """Return a fingerprint by the words of its definition."""
    lines = sorted(
        f"{name} {dtype} {json.dumps(list(shape), separators=(',', ':'))} {hash_bytes(data)}\n"
        for name, (dtype, shape, data) in tensors.items()
    )
    return hash_bytes("".join(lines).encode())


def write_base(folder: Path, *shards: Mapping[str, Content]) -> Path:
    """Write a base model's folder; without shards, the whole of `TENSORS` in one file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(CONFIG)
    for number, shard in enumerate(shards or (TENSORS,), 1):
        name = f"model-{number}.safetensors" if len(shards) > 1 else "model.safetensors"
        (folder / name).write_bytes(write(shard))
    return folder


def make_card(tensors: Mapping[str, Content] = TENSORS, **facts: Any) -> BaseCard:
    """Return the card of a model with these tensors."""
    given = Base(facts.pop("name", "org/base"), facts.pop("revision", None))
    entries = [
        BaseTensor(name, dtype, tuple(shape), hash_bytes(data))
        for name, (dtype, shape, data) in tensors.items()
    ]
    return BaseCard.of(given, entries, **facts)


def make_base(
    message: str,
    *parents: CommitId,
    weights: Mapping[str, Content] | None = None,
    card: BaseCard | None = None,
    more: Mapping[str, bytes] | None = None,
    base: Base | None = None,
) -> Version:
    """Return a version of a base; the weights and what the commit names may not fit the card."""
    shown = make_card() if card is None else card
    files = {FILE_NAME: shown.to_bytes(), "config.json": CONFIG, **(more or {})}
    if weights is not None:
        files["model.safetensors"] = write(weights)
    version = make_version_with(files, message, parents, OriginKind.IMPORT)
    named = shown.base if base is None else base
    told = {"name": named.name, "revision": named.revision, "fingerprint": named.fingerprint}
    return Version({**version.commit, "base": told}, version.manifest, version.contents)
