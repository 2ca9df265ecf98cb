"""What a node of a Ray cluster does: merges some of a base's tensors, with the base that it has.

It is sent the adapters themselves, which are small, and finds the base below the same folders as
the worker does. What goes wrong is returned, since errors with facts do not survive being pickled.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import plait
from plait.errors import CLASS_OF_KIND, Internal, PlaitError, Unavailable
from plait.known_bases import find_base_folder
from plait.merge import Merged, MergeOptions, MergeSource, merge
from plait.model.ids import ObjectId, abbreviate
from plait.model.manifest import Manifest


@dataclass(frozen=True, slots=True)
class PackedSource:
    """An adapter on its way to a node."""

    label: str
    files: Mapping[str, bytes]
    """By path."""
    weight: float
    manifest: Manifest | None
    base: ObjectId | None


@dataclass(frozen=True, slots=True)
class MergeTask:
    """What all parts of one merge have in common."""

    version: str
    """Of plait: other releases may know another definition by the same name."""
    roots: tuple[str, ...]
    """Folders below which the base lies."""
    base: ObjectId
    remembered: str | None
    device: str
    threads: int
    dequantise: bool
    measure: bool


@dataclass(frozen=True, slots=True)
class PartFailure:
    """Why a part was not merged."""

    kind: str
    message: str

    def raise_again(self) -> None:
        """Raise what was raised on the node.

        Raises:
            PlaitError: always.
        """
        raise CLASS_OF_KIND.get(self.kind, Internal)(self.kind, self.message)


def pack(source: MergeSource) -> PackedSource:
    """Return an adapter with the bytes of its files."""
    paths = [path for path in sorted(source.folder.rglob("*")) if path.is_file()]
    files = {str(path.relative_to(source.folder)): path.read_bytes() for path in paths}
    return PackedSource(source.label, files, source.weight, source.manifest, source.base)


def merge_part(
    task: MergeTask, packed: list[PackedSource], names: frozenset[str]
) -> Merged | PartFailure:
    """Return what some tensors of the base come out as."""
    try:
        _verify_version(task)
        with tempfile.TemporaryDirectory(prefix="plait-part-") as folder:
            sources = [_unpack(item, Path(folder, str(at))) for at, item in enumerate(packed)]
            return merge(sources, _options_of(task, names))
    except PlaitError as error:
        return PartFailure(error.kind, f"On the node {os.uname().nodename}: {error.message}")


def _verify_version(task: MergeTask) -> None:
    if plait.__version__ != task.version:
        raise Unavailable(
            "unavailable",
            f"plait is {plait.__version__} here and {task.version} on the worker: install the same "
            "on all nodes.",
        )


def _options_of(task: MergeTask, names: frozenset[str]) -> MergeOptions:
    remembered = None if task.remembered is None else Path(task.remembered)
    roots = [Path(root) for root in task.roots]
    folder = find_base_folder(roots, task.base, remembered)
    if folder is None:
        raise Unavailable(
            "unavailable",
            f"no folder below {', '.join(task.roots)} holds the base {abbreviate(task.base)}: put "
            "it there, or share the folder with all nodes.",
        )
    return MergeOptions(
        folder,
        device=task.device,
        threads=task.threads,
        cache_dir=remembered,
        dequantise=task.dequantise,
        measure=task.measure,
        tensors=names,
    )


def _unpack(packed: PackedSource, folder: Path) -> MergeSource:
    for path, data in packed.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return MergeSource(packed.label, folder, packed.weight, packed.manifest, packed.base)
