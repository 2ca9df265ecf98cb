"""Merging adapters into their base, tensor by tensor: the same bits on every machine.

(1) fingerprint the base, and compare it with what the adapters were trained on
(2) plan: what cannot be merged is found before anything is written
(3) each tensor is read in blocks, merged, hashed and, where a model is wanted, written to its place
(4) the root is the digest over all of them

Memory is that of a block and of one tensor's factors for each thread, whatever the model's size. A
merged model is laid out as its base is: the same files, the same headers, the same order. It
appears under its name when it is complete.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from plait.adapter_folder import TensorFiles, open_adapter, open_base, read_config
from plait.errors import InvalidInput
from plait.kernel_cache import verify_installed
from plait.known_bases import base_digests
from plait.merge_tensors import MergeWork
from plait.merged_folder import MergedFolder, verify_free
from plait.model.base_layout import find_tied_weights
from plait.model.ids import ObjectId, abbreviate
from plait.model.manifest import Manifest
from plait.model.merge_digests import MergeDigests
from plait.progress import NO_PROGRESS, Progress
from plait.quantised_base import DequantisedFiles, open_weights

if TYPE_CHECKING:
    from plait.algebra.merge_plan import MergePlan
    from plait.model.tensor_health import TensorHealth


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
    dequantise: bool = False
    """Merge into the dequantised weights of a quantised base, which are other numbers than those
    that it was made from."""
    measure: bool = False
    """Measure how tensors change, and probe them."""
    tensors: frozenset[str] | None = None
    """Only these of the base's tensors, whose digests alone come out; None: all of them. For who
    has parts merged on several machines, not together with `into`."""


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
    health: Mapping[str, TensorHealth] = field(default_factory=dict)
    """How each of these changed, where that was measured."""
    probes: Mapping[str, ObjectId] = field(default_factory=dict)
    """Digests of the layer probes of those that are matrices, where they were measured."""


def merge(
    sources: Sequence[MergeSource], options: MergeOptions, progress: Progress = NO_PROGRESS
) -> Merged:
    """Merge adapters, in their order, into the base.

    Raises:
        InvalidInput: `base-mismatch`, `not-mergeable`, `shape-mismatch`, `tensor-not-finite`.
        AlreadyExists: `destination-exists`.
        Unavailable: `extra-missing`; `disk-full`; or this machine's arithmetic is not IEEE 754's.
    """
    _verify_weights(sources)
    if options.into is not None:
        verify_free(options.into)  # before a large base is read
    verify_installed()
    # (1) the base.
    fingerprint, known = base_digests(options.base, options.cache_dir, progress)
    if not options.allow_other_base:
        for source in sources:
            _verify_base(source, options.base, fingerprint)
    files = open_weights(options.base, dequantise=options.dequantise)
    if isinstance(files, DequantisedFiles):
        # Of these, the digests are those of the codes.
        known = {name: digest for name, digest in known.items() if name not in files.dequantised}
    # (2) plan.
    plan = _plan(sources, options.base, files)
    # (3) merge.
    from plait.algebra.merge_devices import open_device

    device = open_device(options.device)
    work = MergeWork(plan, files, known, device, measure=options.measure)
    if options.into is None:
        done = work.run(options.tensors, threads=options.threads, progress=progress)
    else:
        with MergedFolder(options.base, files, options.into) as folder:
            done = work.run(folder=folder, threads=options.threads, progress=progress)
            folder.finish()
    # (4) the root.
    return Merged(
        digests=MergeDigests.of({item.name: item.digest for item in done}),
        base=fingerprint,
        base_weights="dequantised" if isinstance(files, DequantisedFiles) else "original",
        device=device.name,
        changed=tuple(plan.tensors),
        health={item.name: item.health for item in done if item.health is not None},
        probes={item.name: item.probe for item in done if item.probe is not None},
    )


def verify_mergeable(sources: Sequence[MergeSource], base: Path) -> None:
    """Check that adapters can be merged into a base, without merging; raises as `merge`."""
    verify_installed()
    _plan(sources, base, open_weights(base))


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
            "match finds them). `plait merge --allow base-mismatch` merges all the same.",
            expected=source.base,
            actual=fingerprint,
        )


def _plan(
    sources: Sequence[MergeSource], folder: Path, files: TensorFiles | DequantisedFiles
) -> MergePlan:
    from plait.algebra.merge_plan import WeightedAdapter, plan_merge

    base = files.as_base() if isinstance(files, DequantisedFiles) else open_base(folder)
    adapters = [
        WeightedAdapter.open(open_adapter(item.label, item.folder, item.manifest), item.weight)
        for item in sources
    ]
    return plan_merge(adapters, base, find_tied_weights(read_config(folder), base.kinds))
