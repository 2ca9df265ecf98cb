"""The tensors of a base, merged one by one: read in blocks, merged, hashed, measured and written.

Several threads take a tensor each, so that one is hashed while another is computed. A thread holds
a block, the factors of one tensor, and no more.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plait.adapter_folder import TensorFiles
from plait.errors import InvalidInput
from plait.merged_folder import MergedFolder
from plait.model.ids import ObjectId
from plait.parallel import map_in_order
from plait.progress import NO_PROGRESS, Progress
from plait.quantised_base import DequantisedFiles

if TYPE_CHECKING:
    from plait.algebra.exact_merge import MergeDevice
    from plait.algebra.layer_probe import LayerProbe
    from plait.algebra.merge_health import MergeHealth
    from plait.algebra.merge_plan import MergePlan, TensorMerge
    from plait.model.tensor_health import TensorHealth

COPY_BLOCK = 1 << 20
"""Bytes of a tensor that no adapter touches, read at once."""


@dataclass(frozen=True, slots=True)
class TensorOutcome:
    """What one tensor became."""

    name: str
    digest: ObjectId
    health: TensorHealth | None = None
    """How it changed, where that was measured."""
    probe: ObjectId | None = None
    """The digest of its layer probe, where that was measured and it is a matrix."""


class MergeWork:
    """A merge that was planned, and what there is to do it with."""

    def __init__(
        self,
        plan: MergePlan,
        files: TensorFiles | DequantisedFiles,
        known: Mapping[str, ObjectId],
        device: MergeDevice,
        *,
        measure: bool,
    ) -> None:
        """Take the digests of those of the base's tensors that are known."""
        self._plan = plan
        self._files = files
        self._known = known
        self._device = device
        self._measures = measure
        self._folder: MergedFolder | None = None
        self._local = threading.local()

    def run(
        self,
        wanted: Collection[str] | None = None,
        *,
        folder: MergedFolder | None = None,
        threads: int = 1,
        progress: Progress = NO_PROGRESS,
    ) -> list[TensorOutcome]:
        """Merge all tensors, or those that are wanted, into a folder where there is one.

        Raises:
            InvalidInput: `tensor-not-finite`, or `file-changed`.
            Unavailable: `disk-full`; or this machine's arithmetic is not IEEE 754's.
        """
        self._folder = folder
        sizes = {
            name: tensor.size
            for name, (_, tensor) in self._files.places.items()
            if wanted is None or name in wanted
        }
        # The largest first, so that no thread ends long after the others.
        names = sorted(sizes, key=lambda name: (-sizes[name], name))
        progress.total(sum(sizes.values()), what="Merging")
        done = []
        try:
            for outcome in map_in_order(self._merge, names, workers=threads):
                done.append(outcome)
                progress.advance(sizes[outcome.name])
        finally:
            progress.finish()
        return done

    def _merge(self, name: str) -> TensorOutcome:
        self._open_device()  # whole tensors are rounded here, too, and codes dequantised
        change = self._plan.tensors.get(name)
        if change is None:
            return TensorOutcome(name, self._keep(name))
        whole = change.read_replacement()
        if whole is not None:
            return self._replace(name, change, whole)
        return self._add(name, change)

    def _keep(self, name: str) -> ObjectId:
        """Copy a tensor that nothing touches."""
        known = self._known.get(name)
        if known is not None and self._folder is None:
            return known
        digest = hashlib.sha256()
        for offset, block in self._files.read_blocks(name, COPY_BLOCK):
            digest.update(block)
            self._write(name, offset, block)
        actual = ObjectId(digest.hexdigest())
        if known not in {None, actual}:
            raise InvalidInput(
                "file-changed", f"The base's tensor {name} changed while it was merged: try again."
            )
        return actual

    def _replace(self, name: str, change: TensorMerge, whole: bytes) -> TensorOutcome:
        """Write an adapter's own tensor."""
        meter = self._open_meter(name, change)
        if meter is not None:
            meter.add(self._files.read_bytes(name), whole)
        self._write(name, 0, whole)
        return _finish(name, ObjectId(hashlib.sha256(whole).hexdigest()), meter)

    def _add(self, name: str, change: TensorMerge) -> TensorOutcome:
        """Add the adapters' terms, rows by rows."""
        from plait.algebra.exact_merge import open_merge

        device = self._open_device()
        row_size = change.kind.row_size
        rows = max(1, device.block_size // row_size)
        rows -= rows % 2 if rows > 1 else 0  # two codes of 4 bits share a byte
        digest = hashlib.sha256()
        meter = self._open_meter(name, change)
        merge_rows = open_merge(device, change.kind, change.read_terms())
        for offset, block in self._files.read_blocks(name, rows * row_size):
            merged = merge_rows(block, offset // row_size)
            digest.update(merged)
            if meter is not None:
                meter.add(block, merged)
            self._write(name, offset, merged)
        return _finish(name, ObjectId(digest.hexdigest()), meter)

    def _open_meter(self, name: str, change: TensorMerge) -> _Meter | None:
        if not self._measures:
            return None
        from plait.algebra.layer_probe import LayerProbe, is_probed
        from plait.algebra.merge_health import MergeHealth

        shape, dtype = self._files.places[name][1].shape, change.kind.dtype
        probe = LayerProbe(name, shape, dtype) if is_probed(shape, dtype) else None
        return _Meter(MergeHealth(dtype), probe)

    def _write(self, name: str, offset: int, data: bytes | memoryview) -> None:
        if self._folder is not None:
            self._folder.write(name, offset, data)

    def _open_device(self) -> MergeDevice:
        """Return this thread's device, once it is known to compute as everywhere else."""
        device: MergeDevice | None = getattr(self._local, "device", None)
        if device is None:
            from plait.algebra.merge_self_test import verify_device

            device = self._device.for_thread()
            verify_device(device)
            self._local.device = device
        return device


@dataclass(frozen=True, slots=True)
class _Meter:
    """What looks at a tensor while its blocks are at hand."""

    health: MergeHealth
    probe: LayerProbe | None

    def add(self, base: bytes | memoryview, merged: bytes | memoryview) -> None:
        self.health.add(base, merged)
        if self.probe is not None:
            self.probe.add(merged)


def _finish(name: str, digest: ObjectId, meter: _Meter | None) -> TensorOutcome:
    if meter is None:
        return TensorOutcome(name, digest)
    probe = None if meter.probe is None else meter.probe.finish()
    return TensorOutcome(name, digest, meter.health.finish(), probe)
