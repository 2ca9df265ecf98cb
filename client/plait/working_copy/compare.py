"""Comparing two versions in the terms of adapters: config, files, tensors, effective deltas.

A version is its manifest and a way to the contents of its files: objects of a working copy, its
folder, or the cache. Weights are read tensor by tensor, and only those that matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.describe import describe_folder
from plait.errors import InvalidInput
from plait.kernel_cache import use_kernel_cache
from plait.model.adapter import FILE_NAME, AdapterConfig, parse_adapter_config
from plait.model.diff import FieldChange, ManifestDiff, diff_configs, diff_manifests
from plait.model.ids import CommitId
from plait.model.manifest import File, Manifest, Tensor
from plait.model.paths import is_safetensors
from plait.progress import NO_PROGRESS, Progress
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.stat_cache import StatCache

if TYPE_CHECKING:
    from plait.algebra.adapter_tensors import AdapterTensors
    from plait.algebra.arrays import FloatArray
    from plait.algebra.delta_change import DeltaComparison

NEEDS_NUMPY = "numpy is not installed: `pip install 'plait[algebra]'` shows how far deltas moved"


@dataclass(frozen=True, slots=True)
class Version:
    """The files of a version, and where their contents are."""

    label: str
    """What people call it."""
    manifest: Manifest
    locate: Callable[[File], Path]

    def read_config(self) -> bytes | None:
        """Return the adapter's config as it stands, or None."""
        file = self.manifest.find(FILE_NAME)
        return None if file is None else self.locate(file).read_bytes()


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """What changed from one version to another."""

    old: str
    new: str
    config: tuple[FieldChange, ...]
    files: ManifestDiff
    deltas: DeltaComparison | None
    """None where `remark` says why."""
    remark: str | None
    """Why deltas, or configs, were not compared."""

    @property
    def is_same(self) -> bool:
        """Whether nothing changed at all."""
        return not self.files.changes

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "old": self.old,
            "new": self.new,
            "config": [change.to_json() for change in self.config],
            "files": self.files.to_json(),
            "deltas": None if self.deltas is None else self.deltas.to_json(),
            "remark": self.remark,
        }


def version_of_commit(copy: WorkingCopy, commit: CommitId, *, label: str) -> Version:
    """Return a commit of a working copy as a version."""
    manifest = copy.get_version(commit)
    return Version(label, manifest, lambda file: copy.objects.path_of(file.sha256))


def version_of_folder(copy: WorkingCopy, *, progress: Progress = NO_PROGRESS) -> Version:
    """Return the folder of a working copy, as it is now.

    Raises:
        InvalidInput: something in it can be no file of a version.
    """
    cache = StatCache(copy.layout)
    description = describe_folder(copy.root, known=cache.find, progress=progress)
    return Version("the folder", description.manifest, lambda file: description.sources[file.path])


def compare_versions(old: Version, new: Version) -> VersionDiff:
    """Return what changed from `old` to `new`; what cannot be compared is said in the remark."""
    files = diff_manifests(old.manifest, new.manifest)
    before, after = old.read_config(), new.read_config()
    try:
        config = diff_configs(before, after)
        configs = [parse_adapter_config(data) for data in (before, after) if data is not None]
    except InvalidInput as error:
        return VersionDiff(old.label, new.label, (), files, None, error.message)
    if len(configs) < 2:
        reason = f"one of the two has no {FILE_NAME}"
        return VersionDiff(old.label, new.label, config, files, None, reason)
    if not config and not any(is_safetensors(change.path) for change in files.changes):
        return VersionDiff(old.label, new.label, config, files, None, "no tensor changed")
    deltas, remark = _compare_deltas(old, new, configs)
    return VersionDiff(old.label, new.label, config, files, deltas, remark)


def _compare_deltas(
    old: Version, new: Version, configs: list[AdapterConfig]
) -> tuple[DeltaComparison | None, str | None]:
    try:
        use_kernel_cache()
        from plait.algebra.delta_change import compare_deltas
    except ImportError:
        return None, NEEDS_NUMPY
    before, after = configs
    try:
        return compare_deltas(_open(old, before), _open(new, after)), None
    except InvalidInput as error:
        return None, error.message


def _open(version: Version, config: AdapterConfig) -> AdapterTensors:
    """Return the tensors of the adapter, which are those beside its config."""
    from plait.algebra.adapter_tensors import AdapterTensors, TensorKind
    from plait.algebra.arrays import decode_for_people

    tensors: dict[str, tuple[File, Tensor]] = {}
    for file in version.manifest.files:
        if file.tensors is not None and "/" not in file.path:
            for tensor in file.tensors.entries:
                tensors.setdefault(tensor.name, (file, tensor))

    def read_bytes(name: str) -> bytes:
        file, tensor = tensors[name]
        with version.locate(file).open("rb") as stream:
            stream.seek(tensor.offset)
            return stream.read(tensor.size)

    def read(name: str) -> FloatArray:
        tensor = tensors[name][1]
        return decode_for_people(read_bytes(name), tensor.dtype, tensor.shape)

    return AdapterTensors(
        label=version.label,
        config=config,
        kinds={
            name: TensorKind(tensor.dtype, tensor.shape) for name, (_, tensor) in tensors.items()
        },
        read=read,
        read_bytes=read_bytes,
        digests={name: tensor.sha256 for name, (_, tensor) in tensors.items()},
    )
