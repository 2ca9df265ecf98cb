"""Three-way merges of versions by whole files: pure, shared by `pull --merge` and `revert`.

The pieces that are merged are single files, but for an adapter's config and the weights beside it:
they are one piece, since the config of one side over the weights of the other would load, and
compute something that nobody trained.

For each piece: changed on one side only, that side is taken; the same on both sides, it stays;
changed on both, it is a conflict unless a side was chosen to settle conflicts. Where there are
several bases (criss-cross merges), a piece counts as unchanged only against every one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from plait.model.adapter import FILE_NAME
from plait.model.commit import Base
from plait.model.manifest import File, Manifest
from plait.model.paths import is_safetensors


class Side(StrEnum):
    """Which side settles conflicts."""

    OURS = "ours"  # the version that is checked out
    THEIRS = "theirs"  # the version that is merged into it


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a three-way merge."""

    files: tuple[File, ...]
    """What the merged version holds; without the pieces in conflict."""
    conflicts: tuple[str, ...]
    """Paths that differ between the sides of pieces in conflict, sorted."""


_Piece = dict[str, File]


def merge_manifests(
    bases: Sequence[Manifest], ours: Manifest, theirs: Manifest, *, prefer: Side | None = None
) -> Merged:
    """Return the files of a version in which the changes of both sides since `bases` are made."""
    split_bases = [_split(base) for base in bases]
    mine, other = _split(ours), _split(theirs)
    files: list[File] = []
    conflicts: list[str] = []
    for key in sorted({*mine, *other}):
        left, right = mine.get(key, {}), other.get(key, {})
        chosen = _choose([base.get(key, {}) for base in split_bases], left, right)
        if chosen is None and prefer is not None:
            chosen = left if prefer is Side.OURS else right
        if chosen is None:
            conflicts += _find_differences(left, right)
        else:
            files += chosen.values()
    return Merged(tuple(files), tuple(sorted(conflicts)))


def merge_bases(
    bases: Iterable[Base], ours: Base, theirs: Base, *, prefer: Side | None = None
) -> Base | None:
    """Return the base model of a merged version, by the same rule; None is a conflict."""
    known = list(bases)
    if ours == theirs or (known and all(theirs == base for base in known)):
        return ours
    if known and all(ours == base for base in known):
        return theirs
    if prefer is None:
        return None
    return ours if prefer is Side.OURS else theirs


def _split(manifest: Manifest) -> dict[tuple[str, bool], _Piece]:
    """Return the pieces of a version by the folder of an adapter, or the path of a file."""
    adapters = {_folder(file.path) for file in manifest.files if _name(file.path) == FILE_NAME}
    pieces: dict[tuple[str, bool], _Piece] = {}
    for file in manifest.files:
        folder = _folder(file.path)
        is_adapter = _name(file.path) == FILE_NAME or (
            is_safetensors(file.path) and folder in adapters
        )
        key = (folder, True) if is_adapter else (file.path, False)
        pieces.setdefault(key, {})[file.path] = file
    return pieces


def _choose(bases: Sequence[_Piece], ours: _Piece, theirs: _Piece) -> _Piece | None:
    mine, other = _digests(ours), _digests(theirs)
    known = [_digests(base) for base in bases]
    if mine == other or (known and all(other == base for base in known)):
        return ours
    if known and all(mine == base for base in known):
        return theirs
    return None


def _digests(piece: _Piece) -> dict[str, str]:
    return {path: file.sha256 for path, file in piece.items()}


def _find_differences(ours: _Piece, theirs: _Piece) -> list[str]:
    mine, other = _digests(ours), _digests(theirs)
    return [path for path in mine.keys() | other.keys() if mine.get(path) != other.get(path)]


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]
