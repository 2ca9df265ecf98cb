"""Pushes by hand: documents and bytes as a hostile or broken client would send them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from e2e.made_adapters import BASE, CONFIG, WEIGHTS, MadeTensor, lora_tensors, serialize
from plait import wire
from plait.model import canonical
from plait.model.digesting import digest_file
from plait.model.ids import hash_bytes
from plait.model.manifest import Manifest
from plait.model.paths import FilePath
from reference.registry_drivers import HttpDriver

CONFIG_BYTES = b'{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj"]}'

Document = dict[str, Any]


@dataclass
class RawVersion:
    """A version as documents that a test may bend, and the bytes of its files."""

    files: dict[str, bytes]
    manifest: Document = field(init=False)
    parents: list[str] = field(default_factory=list)
    message: str = "by hand"

    def __post_init__(self) -> None:
        """Describe the files truthfully."""
        self.manifest = Manifest.of(
            digest_file(FilePath(path), len(data), [data]) for path, data in self.files.items()
        ).to_json()

    @classmethod
    def of(
        cls, tensors: list[MadeTensor] | None = None, *, more: Mapping[str, bytes] | None = None
    ) -> RawVersion:
        """Return a LoRA adapter with these tensors, and more files beside it."""
        weights = serialize(lora_tensors() if tensors is None else tensors)
        return cls({CONFIG: CONFIG_BYTES, WEIGHTS: weights, **(more or {})})

    def bend(self, change: Callable[[Document], None]) -> RawVersion:
        """Return the version with its manifest changed in place."""
        bent = copy.deepcopy(self)
        change(bent.manifest)
        return bent

    def commit(self) -> Document:
        """Return the commit's document, which names the manifest as it is."""
        return {
            "format": "plait.commit/1",
            "manifest": hash_bytes(canonical.dumps(self.manifest)),
            "parents": self.parents,
            "author": {"name": "Mallory", "email": ""},
            "time": "2026-01-01T00:00:00Z",
            "message": self.message,
            "base": {"name": BASE, "revision": None, "fingerprint": None},
            "origin": {"kind": "training"},
        }

    @property
    def commit_id(self) -> str:
        """The commit's id."""
        return str(hash_bytes(canonical.dumps(self.commit())))

    def request(self, *, branch: str = "main", expected: str | None = None) -> wire.NewPush:
        """Return the first step of a push of this version."""
        return wire.NewPush(
            wire.PushRef("branch", branch, expected, self.commit_id),
            wire.StagedCommits([self.commit()], [self.manifest]),
        )

    def contents(self) -> dict[str, bytes]:
        """Return the bytes of the files by the digests that the manifest gives them."""
        known = {hash_bytes(data): data for data in self.files.values()}
        return {file["sha256"]: known[file["sha256"]] for file in self.manifest["files"]}


def push_raw(
    driver: HttpDriver, version: RawVersion, *, branch: str = "main", expected: str | None = None
) -> str:
    """Push a version as it is and return its commit id."""
    driver.push(version.request(branch=branch, expected=expected), version.contents())
    return version.commit_id


def weights_of(manifest: Document) -> Document:
    """Return the entry of the weights in a manifest's document."""
    found: Document = next(file for file in manifest["files"] if file["path"] == WEIGHTS)
    return found
