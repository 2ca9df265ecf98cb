"""Where the bytes of each file of a bundle lie: in its own member, in earlier ones, or elsewhere.

Fed with the manifests in the order of the bundle, it follows the plan that the bundle was made by
(`plait.bundle.plan`), and refuses a bundle of which a byte is neither carried nor with a
prerequisite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from plait.bundle.contents import CarriedFile
from plait.bundle.plan import Region, list_carried, list_regions, list_tensors
from plait.bundle.reader import Bundle
from plait.errors import Integrity, InvalidInput
from plait.model.ids import ObjectId
from plait.model.manifest import File, Manifest


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of a file."""

    begin: int
    end: int
    at: int | None
    """Where it lies in the archive; None: a prerequisite has it."""


@dataclass(frozen=True, slots=True)
class FilePlaces:
    """A file of the bundle's new commits."""

    number: int
    """Counts the carried files, in their order."""
    size: int
    """Bytes."""
    pieces: tuple[Piece, ...]
    """All of the file, in order."""
    borrowed: Mapping[int, int]
    """Bytes that lie with other carried files, by their numbers."""

    @property
    def is_whole(self) -> bool:
        """Whether every byte is in the bundle."""
        return all(piece.at is not None for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class _Held:
    """A tensor that is in the bundle."""

    at: int
    size: int
    number: int
    """Of the file that carries it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file that stands in an earlier manifest, or under another name."""

    table: int | None
    """A hash of its tensor table, where it had one."""
    carried: CarriedFile
    places: FilePlaces


class Locator:
    """Places the files of one bundle."""

    def __init__(self, bundle: Bundle, prerequisites: Sequence[Manifest]) -> None:
        self._bundle = bundle
        self._carried = list(bundle.contents.files)
        self._seen: dict[ObjectId, _Seen] = {}
        self._required = {
            file.sha256: file.size for manifest in prerequisites for file in manifest.files
        }
        self._required_tensors = {
            tensor.sha256: tensor.size
            for manifest in prerequisites
            for file in manifest.files
            for tensor in list_tensors(file)
        }
        self._tensors: dict[ObjectId, _Held] = {}
        self._next = 0

    def locate(self, manifest: Manifest) -> Iterator[tuple[File, CarriedFile, FilePlaces]]:
        """Yield the files of the next manifest that were not seen before.

        One that was seen under a name without a tensor table, and now has one, is yielded again.

        Raises:
            InvalidInput: `invalid-bundle`, a file is carried in another order, or in other parts.
            Integrity: `bundle-incomplete`, bytes are neither carried nor with a prerequisite.
        """
        for file in manifest.files:
            required = self._required.get(file.sha256)
            if required is not None:
                if required != file.size:
                    raise _contradicted(file)
                continue
            # Salted by the process: nobody can prepare two tables that agree.
            table = None if file.tensors is None else hash(file.tensors)
            seen = self._seen.get(file.sha256)
            if seen is None:
                carried = self._take(file)
                seen = _Seen(None, carried, self._place(file, carried))
            elif seen.carried.size != file.size or not _agree(table, seen.table):
                raise _contradicted(file)
            elif table in {None, seen.table}:
                continue
            self._seen[file.sha256] = replace(seen, table=table)
            yield file, seen.carried, seen.places

    def finish(self) -> None:
        """Check that nothing is left that no version names."""
        if self._next < len(self._carried):
            raise InvalidInput("invalid-bundle", "The bundle carries files that no version has.")

    def _take(self, file: File) -> CarriedFile:
        if self._next == len(self._carried) or self._carried[self._next].sha256 != file.sha256:
            raise Integrity(
                "bundle-incomplete",
                f"The bundle lacks {file.path} ({file.sha256[:12]}), or carries it out of order: "
                "create it anew.",
                path=file.path,
                sha256=file.sha256,
            )
        self._next += 1
        return self._carried[self._next - 1]

    def _place(self, file: File, carried: CarriedFile) -> FilePlaces:
        number = self._next - 1
        own = {region.begin: region for region in list_carried(file, carried)}
        at = self._bundle.place_of(carried)
        if carried.ranges is None:
            for tensor in list_tensors(file):
                self._tensors.setdefault(
                    tensor.sha256, _Held(at + tensor.begin, tensor.size, number)
                )
            whole = (Piece(0, file.size, at),) if file.size else ()
            return FilePlaces(number, file.size, whole, {})
        pieces: list[Piece] = []
        borrowed: dict[int, int] = {}
        for region in list_regions(file):
            if region.begin in own:
                _append(pieces, Piece(region.begin, region.end, at))
                if region.is_tensor:
                    self._tensors.setdefault(region.sha256, _Held(at, region.size, number))
                at += region.size
                continue
            held = self._find(file, region)
            _append(pieces, Piece(region.begin, region.end, None if held is None else held.at))
            if held is not None and held.number != number:
                borrowed[held.number] = borrowed.get(held.number, 0) + region.size
        return FilePlaces(number, file.size, tuple(pieces), borrowed)

    def _find(self, file: File, region: Region) -> _Held | None:
        """Return where a tensor is that the file's member leaves out; None: with a prerequisite."""
        held = self._tensors.get(region.sha256)
        size = self._required_tensors.get(region.sha256) if held is None else held.size
        if size != region.size:
            raise Integrity(
                "bundle-incomplete",
                f"The bundle lacks a tensor of {file.path} ({region.sha256[:12]}): create it anew.",
                path=file.path,
                sha256=region.sha256,
            )
        return held


def _agree(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Add a piece, joined with the one before where the two are one range."""
    last = pieces[-1] if pieces else None
    if last is not None and _goes_on(last, piece):
        pieces[-1] = Piece(last.begin, piece.end, last.at)
    else:
        pieces.append(piece)


def _goes_on(last: Piece, piece: Piece) -> bool:
    if last.at is None or piece.at is None:
        return last.at is piece.at
    return last.at + last.end - last.begin == piece.at


def _contradicted(file: File) -> InvalidInput:
    return InvalidInput(
        "invalid-bundle",
        f"Two versions in the bundle say different things about {file.path!r} "
        f"({file.sha256[:12]}).",
    )
