"""Reading a bundle, which is somebody else's: nothing in it is believed, and nothing is unpacked.

`open_bundle` checks the frame: that the file is as long as its table of contents says, to the byte,
and that each header and all padding are what `plait.bundle.archive` would write. Documents are
checked against their ids whenever they are read. The bytes of files are read where they lie.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from plait.bundle.archive import (
    BLOCK,
    END,
    Member,
    PlacedMember,
    archive_size,
    make_header,
    padding,
    place,
    read_first_size,
)
from plait.bundle.contents import (
    LARGEST_CONTENTS,
    NAME,
    CarriedFile,
    Contents,
    commit_name,
    manifest_name,
)
from plait.describe import open_regular
from plait.errors import Integrity, InvalidInput, NotFound, TooLarge
from plait.model.commit import Commit
from plait.model.ids import CommitId, ManifestId, hash_bytes
from plait.model.manifest import Manifest
from plait.model.paths import FilePath
from plait.transport import PIECE_SIZE


class Bundle:
    """An open bundle whose frame was checked; for one thread."""

    def __init__(self, path: Path, file: BinaryIO, contents: Contents) -> None:
        self.path = path
        self.contents = contents
        self._file = file
        self._placed = {item.member.name: item for item in place(contents.members())}

    @property
    def placed(self) -> list[PlacedMember]:
        """All members in their order; the first is the table of contents."""
        return list(self._placed.values())

    def place_of(self, carried: CarriedFile) -> int:
        """Return where the bytes of a carried file begin."""
        return self._placed[carried.member.name].at

    def load_commit(self, commit: CommitId) -> Commit:
        """Return a commit that the bundle names.

        Raises:
            Integrity: `digest-mismatch`.
            InvalidInput: it breaks a rule of its format.
        """
        return Commit.from_bytes(self._read_document(commit_name(commit), commit))

    def load_manifest(self, manifest: ManifestId) -> Manifest:
        """Return a manifest that the bundle names; raises as `load_commit` does."""
        return Manifest.from_bytes(self._read_document(manifest_name(manifest), manifest))

    def read(self, begin: int, size: int) -> Iterator[memoryview]:
        """Yield a range of the archive; each piece is overwritten by the next.

        Raises:
            Integrity: `size-mismatch`, the file became shorter meanwhile.
        """
        buffer = memoryview(bytearray(min(PIECE_SIZE, size)))
        position = begin
        while position < begin + size:
            # Others read other ranges between two pieces.
            self._file.seek(position)
            count = _read_into(self._file, buffer[: begin + size - position])
            position += count
            yield buffer[:count]

    def _read_document(self, name: str, identity: str) -> bytes:
        placed = self._placed[name]
        data = _read(self._file, placed.at, placed.member.size)
        if hash_bytes(data) != identity:
            raise Integrity(
                "digest-mismatch",
                f"{name} of {self.path.name} is damaged: copy the bundle again, or create it anew.",
                member=name,
            )
        return data


@contextlib.contextmanager
def open_bundle(path: Path) -> Generator[Bundle]:
    """Open a bundle and check its frame.

    Raises:
        NotFound: `file-not-found`.
        InvalidInput: `invalid-bundle`, it is none, or damaged, or cut off.
        TooLarge: `bundle-too-large`.
    """
    real = _resolve(path)
    with os.fdopen(open_regular(FilePath(path.name), real), "rb", buffering=0) as file:
        contents = _read_contents(file, path)
        bundle = Bundle(real, file, contents)
        _verify_frame(file, bundle.placed, path)
        yield bundle


def _resolve(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # the latter is a loop of links
        raise NotFound("file-not-found", f"There is no file {path}.", path=str(path)) from error


def _read_contents(file: BinaryIO, path: Path) -> Contents:
    whole = os.fstat(file.fileno()).st_size
    if whole < BLOCK:
        raise _not_a_bundle(path)
    size = read_first_size(_read(file, 0, BLOCK), NAME)
    if size > LARGEST_CONTENTS:
        raise TooLarge("bundle-too-large", f"The table of contents of {path} claims {size} bytes.")
    if BLOCK + size > whole:
        raise _cut_off(path, BLOCK + size, whole)
    return Contents.from_bytes(_read(file, BLOCK, size))


def _verify_frame(file: BinaryIO, placed: list[PlacedMember], path: Path) -> None:
    expected, actual = archive_size(placed[-1]), os.fstat(file.fileno()).st_size
    if actual < expected:
        raise _cut_off(path, expected, actual)
    if actual > expected:
        raise InvalidInput(
            "invalid-bundle", f"{path} has {actual - expected} bytes after its end: do not use it."
        )
    for item in placed:
        filling = padding(item.member.size)
        header = _read(file, item.at - BLOCK, BLOCK)
        if header != make_header(item.member) or _read(file, item.end, len(filling)) != filling:
            raise _damaged(path, item.member)
    if _read(file, expected - len(END), len(END)) != END:
        raise InvalidInput("invalid-bundle", f"{path} does not end as a bundle does.")


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    file.seek(at)
    while view:
        view = view[_read_into(file, view) :]
    return bytes(data)


def _read_into(file: BinaryIO, view: memoryview) -> int:
    count = file.readinto(view)  # type: ignore[attr-defined] # a raw file has it
    if not count:
        raise Integrity("size-mismatch", "The bundle became shorter while it was read.")
    return int(count)


def _not_a_bundle(path: Path) -> InvalidInput:
    return InvalidInput("invalid-bundle", f"{path} is not a bundle of plait.")


def _cut_off(path: Path, expected: int, actual: int) -> InvalidInput:
    return InvalidInput(
        "invalid-bundle",
        f"{path} is cut off: {actual} bytes of {expected} are there. Copy it again.",
        expected=expected,
        actual=actual,
    )


def _damaged(path: Path, member: Member) -> InvalidInput:
    return InvalidInput(
        "invalid-bundle",
        f"{path} is damaged around {member.name}: copy it again, or create it anew.",
        member=member.name,
    )
