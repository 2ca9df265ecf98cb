"""Merging adapters into their base, tensor by tensor: the same bits on every machine.

(1) fingerprint the base, and compare it with what the adapters were trained on
(2) plan: what cannot be merged is found before anything is written
(3) each tensor is read in blocks, merged, hashed and, where a model is wanted, written to its place;
    several threads take a tensor each, so that one is hashed while another is computed
(4) the root is the digest over all of them

Memory is that of a block and of one tensor's factors for each thread, whatever the model's size. A
merged model is laid out as its base is: the same files, the same headers, the same order. It appears
under its name when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from plait.adapter_folder import TensorFiles, open_adapter, open_base, open_tensors
from plait.errors import InvalidInput
from plait.kernel_cache import verify_installed
from plait.known_bases import base_digests
from plait.merged_folder import MergedFolder
from plait.model.base_layout import find_tied_weights
from plait.model.ids import ObjectId, abbreviate
from plait.model.manifest import Manifest
from plait.model.merge_digests import MergeDigests
from plait.parallel import map_in_order
from plait.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from plait.algebra.exact_merge import MergeDevice
    from plait.algebra.merge_plan import MergePlan, TensorMerge

COPY_BLOCK = 1 << 20
"""Bytes of a tensor that no adapter touches, read at once."""


@dataclass(frozen=True, slots=True)
class MergeSource:
    """One adapter of a merge, on this machine."""

    label: str
    folder: Path
    weight: float = 1.0
    manifest: Manifest | None = None
    base: ObjectId | None = None
    """The fingerprint of what it was trained on, where that is known."""


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """Where and how to merge."""

    base: Path
    into: Path | None = None
    """A folder to be made for the merged model; None: digests alone."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: a GPU where there is one."""
    threads: int = 1
    cache_dir: Path | None = None
    """Where the digests of known bases are remembered."""
    allow_other_base: bool = False
    """Merge into a base that the adapters were not trained on."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came out as."""

    digests: MergeDigests
    base: ObjectId
    """The fingerprint of the base's folder."""
    base_weights: str
    """`original`, or `dequantised`."""
    device: str
    """What computed, as people call it."""
    changed: tuple[str, ...]
    """The tensors that an adapter touches, sorted."""


def merge(
    sources: Sequence[MergeSource], options: MergeOptions, progress: Progress = NO_PROGRESS
) -> Merged:
    """Merge adapters, in their order, into the base.

    Raises:
        InvalidInput: `base-mismatch`, `not-mergeable`, `shape-mismatch`, `tensor-not-finite`.
        Unavailable: `extra-missing`; `disk-full`; or this machine's arithmetic is not IEEE 754's.
    """
    _verify_weights(sources)
    verify_installed()
    # (1) the base.
    fingerprint, known = base_digests(options.base, options.cache_dir, progress)
    if not options.allow_other_base:
        for source in sources:
            _verify_base(source, options.base, fingerprint)
    # (2) plan.
    plan = _plan(sources, options.base)
    # (3) merge.
    from plait.algebra.merge_devices import open_device

    device = open_device(options.device)
    work = _Work(plan, open_tensors(options.base), known, device)
    if options.into is None:
        tensors = _merge_all(work, options.threads, progress)
    else:
        with MergedFolder(options.base, options.into) as folder:
            work.folder = folder
            tensors = _merge_all(work, options.threads, progress)
            folder.finish()
    # (4) the root.
    return Merged(
        digests=MergeDigests.of(tensors),
        base=fingerprint,
        base_weights="original",
        device=device.name,
        changed=tuple(plan.tensors),
    )


def _verify_weights(sources: Sequence[MergeSource]) -> None:
    if not sources:
        raise InvalidInput("usage", "A merge needs an adapter: name one or more.")
    for source in sources:
        if not math.isfinite(source.weight) or source.weight == 0.0:
            raise InvalidInput(
                "usage",
                f"The weight of {source.label} is {source.weight}: a finite number other than "
                "zero, as in NS/NAME@v1*0.7.",
            )


def _verify_base(source: MergeSource, folder: Path, fingerprint: ObjectId) -> None:
    if source.base not in {None, fingerprint}:
        raise InvalidInput(
            "base-mismatch",
            f"{source.label} was trained on the base {abbreviate(str(source.base))}, and {folder} "
            f"holds {abbreviate(fingerprint)}: name the folder of the same weights (plait base "
            "match finds them), or merge all the same with --allow base-mismatch.",
            expected=source.base,
            actual=fingerprint,
        )


def _plan(sources: Sequence[MergeSource], folder: Path) -> MergePlan:
    from plait.algebra.merge_plan import WeightedAdapter, plan_merge

    base = open_base(folder)
    adapters = [
        WeightedAdapter(open_adapter(item.label, item.folder, item.manifest), item.weight)
        for item in sources
    ]
    return plan_merge(adapters, base, find_tied_weights(_read_config(folder), base.kinds))


def _read_config(folder: Path) -> Mapping[str, object]:
    """Return the configuration of a base; empty where it has none that can be read."""
    try:
        held = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


class _Work:
    """What all threads of a merge share."""

    def __init__(
        self,
        plan: MergePlan,
        files: TensorFiles,
        known: Mapping[str, ObjectId],
        device: MergeDevice,
    ) -> None:
        self.plan = plan
        self.files = files
        self.known = known
        self.device = device
        self.folder: MergedFolder | None = None
        self._checked = threading.local()

    def merge(self, name: str) -> tuple[str, ObjectId]:
        """Return a tensor's name and the digest of what it became."""
        self._verify_thread()
        change = self.plan.tensors.get(name)
        if change is None:
            return name, self._keep(name)
        whole = change.read_replacement()
        if whole is not None:
            self._write(name, 0, whole)
            return name, ObjectId(hashlib.sha256(whole).hexdigest())
        return name, self._merge(name, change)

    def _keep(self, name: str) -> ObjectId:
        """Copy a tensor that nothing touches; its digest is known."""
        if self.folder is not None:
            digest = hashlib.sha256()
            for offset, block in self.files.read_blocks(name, COPY_BLOCK):
                digest.update(block)
                self._write(name, offset, block)
            self._verify_unchanged(name, digest.hexdigest())
        return self.known[name]

    def _merge(self, name: str, change: TensorMerge) -> ObjectId:
        from plait.algebra.exact_merge import open_merge

        row_size = change.kind.row_size
        rows = max(1, self.device.block_size // row_size)
        digest = hashlib.sha256()
        merge_rows = open_merge(self.device, change.kind, change.read_terms())
        for offset, block in self.files.read_blocks(name, rows * row_size):
            merged = merge_rows(block, offset // row_size)
            digest.update(merged)
            self._write(name, offset, merged)
        return ObjectId(digest.hexdigest())

    def _write(self, name: str, offset: int, data: bytes | memoryview) -> None:
        if self.folder is not None:
            self.folder.write(name, offset, data)

    def _verify_unchanged(self, name: str, digest: str) -> None:
        if digest != self.known[name]:
            raise InvalidInput(
                "file-changed", f"The base's tensor {name} changed while it was merged: try again."
            )

    def _verify_thread(self) -> None:
        if not getattr(self._checked, "is_done", False):
            from plait.algebra.merge_self_test import verify_device

            verify_device(self.device)
            self._checked.is_done = True


def _merge_all(work: _Work, threads: int, progress: Progress) -> dict[str, ObjectId]:
    sizes = {name: tensor.size for name, (_, tensor) in work.files.places.items()}
    # The largest first, so that no thread ends long after the others.
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    progress.total(sum(sizes.values()), what="Merging")
    found: dict[str, ObjectId] = {}
    try:
        for name, digest in map_in_order(partial(_Work.merge, work), names, workers=threads):
            found[name] = digest
            progress.advance(sizes[name])
    finally:
        progress.finish()
    return found
