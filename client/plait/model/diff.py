"""What changed between two versions, from their manifests and configurations alone.

- Files are compared by digest; a file that moved unchanged is a rename.
- Inside a safetensors file, a changed tensor is told apart from one of another dtype or shape,
  and both from a file whose tensors are the same and only the header differs (its metadata, or
  the order of the tensors).
- Configurations are compared in their canonical form, field by field.

How far the weights moved needs the weights: `plait.algebra.delta_change`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plait.model.adapter import parse_adapter_config
from plait.model.manifest import File, Manifest, Tensor, TensorTable


class ChangeKind(StrEnum):
    """What happened to a file, a tensor or a field."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"  # files only: the same bytes under another path
    CHANGED = "changed"
    RESHAPED = "reshaped"  # tensors only: another dtype or shape


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One tensor that is not the same in both versions of a file."""

    kind: ChangeKind
    name: str
    old: Tensor | None
    new: Tensor | None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "old": _tensor_json(self.old),
            "new": _tensor_json(self.new),
        }


@dataclass(frozen=True, slots=True)
class TensorsDiff:
    """What changed inside one safetensors file."""

    changes: tuple[TensorChange, ...]
    """Sorted by name."""
    unchanged: int
    is_header_changed: bool
    """The header always changes with dtypes, shapes and names; see also `is_header_only`."""

    @property
    def is_header_only(self) -> bool:
        """Whether every tensor is the same and only metadata or the order of tensors changed."""
        return self.is_header_changed and not self.changes

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "changes": [change.to_json() for change in self.changes],
            "unchanged": self.unchanged,
            "header_changed": self.is_header_changed,
            "header_only": self.is_header_only,
        }


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that is not the same in both versions."""

    kind: ChangeKind
    old: File | None
    new: File | None
    tensors: TensorsDiff | None
    """For a safetensors file that is changed in place."""

    @property
    def path(self) -> str:
        """Where the file is, or where it was if it is gone."""
        file = self.new or self.old
        return "" if file is None else file.path

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind.value,
            "path": self.path,
            "old": _file_json(self.old),
            "new": _file_json(self.new),
            "tensors": None if self.tensors is None else self.tensors.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ManifestDiff:
    """What changed between the files of two versions."""

    changes: tuple[FileChange, ...]
    """Sorted by path."""
    unchanged: int

    def of_kind(self, kind: ChangeKind) -> tuple[FileChange, ...]:
        """Return the changes of one kind."""
        return tuple(change for change in self.changes if change.kind is kind)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "changes": [change.to_json() for change in self.changes],
            "unchanged": self.unchanged,
        }


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a configuration that is not the same in both versions."""

    kind: ChangeKind
    field: str
    """The names on the way to it, joined by dots."""
    old: Any
    """None where it was added; see `kind`, for null is also a value."""
    new: Any

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"kind": self.kind.value, "field": self.field, "old": self.old, "new": self.new}


def diff_manifests(old: Manifest | None, new: Manifest) -> ManifestDiff:
    """Return what changed from `old`, or from nothing, to `new`."""
    before = {file.path: file for file in (old.files if old is not None else ())}
    after = {file.path: file for file in new.files}
    kept = before.keys() & after.keys()
    changed = [path for path in kept if before[path].sha256 != after[path].sha256]
    renames = _find_renames(
        [before[path] for path in sorted(before.keys() - kept)],
        [after[path] for path in sorted(after.keys() - kept)],
    )
    moved = {file.path for pair in renames for file in pair}
    changes = [
        FileChange(
            ChangeKind.CHANGED, before[path], after[path], _diff_inside(before[path], after[path])
        )
        for path in changed
    ]
    changes += [FileChange(ChangeKind.RENAMED, source, target, None) for source, target in renames]
    changes += [
        FileChange(ChangeKind.REMOVED, before[path], None, None)
        for path in before.keys() - kept - moved
    ]
    changes += [
        FileChange(ChangeKind.ADDED, None, after[path], None)
        for path in after.keys() - kept - moved
    ]
    changes.sort(key=lambda change: change.path)
    return ManifestDiff(tuple(changes), len(kept) - len(changed))


def diff_tensors(old: TensorTable, new: TensorTable) -> TensorsDiff:
    """Return what changed inside a safetensors file."""
    before = {tensor.name: tensor for tensor in old.entries}
    after = {tensor.name: tensor for tensor in new.entries}
    changes = []
    for name in sorted(before.keys() | after.keys()):
        kind = _compare(before.get(name), after.get(name))
        if kind is not None:
            changes.append(TensorChange(kind, name, before.get(name), after.get(name)))
    return TensorsDiff(
        tuple(changes),
        len(before.keys() | after.keys()) - len(changes),
        old.header_sha256 != new.header_sha256,
    )


def diff_configs(old: bytes | None, new: bytes | None) -> tuple[FieldChange, ...]:
    """Return what changed between two `adapter_config.json`, either of which may be absent.

    Raises:
        InvalidInput: one of them cannot be read.
    """
    before = {} if old is None else parse_adapter_config(old).canonical()
    after = {} if new is None else parse_adapter_config(new).canonical()
    return tuple(_diff_fields("", before, after))


def _find_renames(removed: list[File], added: list[File]) -> list[tuple[File, File]]:
    """Pair files of equal bytes in the order of their paths; empty files are nobody's copy."""
    sources: dict[str, list[File]] = {}
    for file in removed:
        if file.size:
            sources.setdefault(file.sha256, []).append(file)
    return [(sources[file.sha256].pop(0), file) for file in added if sources.get(file.sha256)]


def _diff_inside(old: File, new: File) -> TensorsDiff | None:
    if old.tensors is None or new.tensors is None:
        return None
    return diff_tensors(old.tensors, new.tensors)


def _compare(old: Tensor | None, new: Tensor | None) -> ChangeKind | None:
    if old is None:
        return ChangeKind.ADDED
    if new is None:
        return ChangeKind.REMOVED
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return ChangeKind.RESHAPED
    return None if old.sha256 == new.sha256 else ChangeKind.CHANGED


def _diff_fields(
    prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[FieldChange]:
    for name in sorted(old.keys() | new.keys()):
        field = f"{prefix}{name}"
        if name not in old:
            yield FieldChange(ChangeKind.ADDED, field, None, new[name])
        elif name not in new:
            yield FieldChange(ChangeKind.REMOVED, field, old[name], None)
        elif isinstance(old[name], dict) and isinstance(new[name], dict):
            yield from _diff_fields(f"{field}.", old[name], new[name])
        elif not _is_same(old[name], new[name]):
            yield FieldChange(ChangeKind.CHANGED, field, old[name], new[name])


def _is_same(old: Any, new: Any) -> bool:
    # To Python, true equals 1.
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def _tensor_json(tensor: Tensor | None) -> dict[str, Any] | None:
    if tensor is None:
        return None
    return {
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "size": tensor.size,
        "sha256": tensor.sha256,
    }


def _file_json(file: File | None) -> dict[str, Any] | None:
    if file is None:
        return None
    return {"path": file.path, "size": file.size, "sha256": file.sha256}
