"""Sending the objects of a push to the store, in parallel and in parts.

A file goes whole, or as the ranges of it that the registry lacks, joined into one object that ends
with the repository's salt. What arrived before an interruption is not sent again. The digests of
all parts are told before they are signed, so that the store itself refuses bytes that changed on
the way, or in the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from plait import wire
from plait.describe import open_regular
from plait.errors import AlreadyExists, Integrity, InvalidInput, NotFound, PermissionDenied
from plait.model.ids import ObjectId
from plait.model.part_sizes import PartSizes
from plait.model.paths import FilePath
from plait.parallel import StopSign, run_parallel
from plait.progress import Progress
from plait.transport import PIECE_SIZE, Body, Transport

MOST_SIGNATURES = 3
"""A signature that expires while others are sent is asked for again; more often is a fault."""

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Scattered:
    """A file whose bytes lie here and there in another one, as in a bundle."""

    path: Path
    """Of the other one."""
    pieces: Sequence[tuple[int, int, int]]
    """Begin and end in the file, in order, and where that lies in the other one."""

    def find(self, ranges: Ranges) -> Ranges:
        """Return where ranges of the file lie.

        Raises:
            Integrity: `bundle-incomplete`, some of them do not.
        """
        found: list[tuple[int, int]] = []
        number = 0
        for begin, end in ranges:
            while number < len(self.pieces) and self.pieces[number][1] <= begin:
                number += 1
            for first, last, at in islice(self.pieces, number, None):
                if first >= end:
                    break
                found.append((at + max(begin, first) - first, at + min(end, last) - first))
        if sum(end - begin for begin, end in found) != sum(end - begin for begin, end in ranges):
            raise Integrity(
                "bundle-incomplete",
                f"The registry asks for bytes that {self.path.name} leaves out, since another push "
                "of the same file was interrupted there: use a bundle that was created without "
                "--since.",
                path=str(self.path),
            )
        return found


FindFile = Callable[[ObjectId], Path | Scattered]
"""Returns where on this machine the file of a digest is."""


@dataclass(frozen=True, slots=True)
class _Source:
    """An object as ranges of a local file, and the salt at its end."""

    path: Path
    ranges: Ranges
    salt: bytes

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self._salt_offset + len(self.salt)

    @property
    def _salt_offset(self) -> int:
        return sum(end - begin for begin, end in self.ranges)

    def read(self, offset: int, size: int, stop: StopSign) -> Iterator[memoryview]:
        """Yield the object's bytes from `offset` on; each piece is overwritten by the next."""
        salt_offset, stop_at = self._salt_offset, offset + size
        if offset < salt_offset:
            yield from self._read_file(offset, min(stop_at, salt_offset) - offset, stop)
        if stop_at > salt_offset:
            first = max(offset, salt_offset) - salt_offset
            yield memoryview(self.salt[first : stop_at - salt_offset])

    def _read_file(self, offset: int, size: int, stop: StopSign) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(PIECE_SIZE, size)))
        descriptor = open_regular(FilePath(self.path.name), self.path)
        try:
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                for begin, end in _cut(self.ranges, offset, size):
                    file.seek(begin)
                    left = end - begin
                    while left:
                        stop.check()
                        count = file.readinto(buffer[: min(len(buffer), left)])
                        if not count:
                            raise _changed(self.path)
                        left -= count
                        yield buffer[:count]
        except OSError as error:
            raise _changed(self.path) from error

    def digest(self, offset: int, size: int, stop: StopSign) -> bytes:
        """Return the sha256 of a part of the object."""
        digest = hashlib.sha256()
        for piece in self.read(offset, size, stop):
            digest.update(piece)
        return digest.digest()

    def digest_whole(self, plan: wire.FilePlan, stop: StopSign) -> bytes:
        """Return the sha256 of the object.

        Raises:
            InvalidInput: `file-changed`, all of the file goes, and it is not the one of the plan.
        """
        digest = hashlib.sha256()
        for piece in self.read(0, self._salt_offset, stop):
            digest.update(piece)
        if list(plan.ranges) == [(0, plan.size)] and digest.hexdigest() != plan.sha256:
            raise _changed(self.path)
        digest.update(self.salt)
        return digest.digest()


@dataclass(frozen=True, slots=True)
class _Item:
    """An object to upload."""

    new: wire.NewObject
    source: _Source


class Uploader:
    """Uploads what the plans of one push ask for."""

    def __init__(
        self,
        transport: Transport,
        push_path: str,
        sizes: PartSizes,
        find_file: FindFile,
        progress: Progress,
    ) -> None:
        self._transport = transport
        self._sizes = sizes
        self._push_path = push_path
        self._find_file = find_file
        self._progress = progress

    def upload(self, plans: Sequence[wire.FilePlan], *, salt: bytes) -> int:
        """Send what `plans` ask for, each object ended by `salt`; return how many bytes went.

        Raises:
            InvalidInput: `file-changed`, a file is no longer the one that was described.
            Unavailable: the store or the registry cannot be reached.
        """
        items = self._prepare(plans, salt)
        sent = 0
        for first in range(0, len(items), wire.MOST_FILES_PER_CALL):
            sent += self._upload_batch(items[first : first + wire.MOST_FILES_PER_CALL])
        return sent

    def _prepare(self, plans: Sequence[wire.FilePlan], salt: bytes) -> list[_Item]:
        """Return the objects; each is read to know its digest, and those of its parts meanwhile."""
        sources = [
            _find_source(self._find_file(ObjectId(plan.sha256)), plan.ranges, salt)
            for plan in plans
        ]
        wholes: dict[int, str] = {}
        parts: list[dict[int, str]] = [{} for _ in plans]

        def digest_whole(number: int, stop: StopSign) -> None:
            wholes[number] = sources[number].digest_whole(plans[number], stop).hex()

        def digest_part(number: int, offset: int, size: int, stop: StopSign) -> None:
            parts[number][offset] = sources[number].digest(offset, size, stop).hex()

        run_parallel(
            chain(
                (partial(digest_whole, number) for number in range(len(plans))),
                (
                    partial(digest_part, number, offset, size)
                    for number, source in enumerate(sources)
                    for offset, size in self._tile(source)
                ),
            )
        )
        return [
            _Item(
                wire.NewObject(
                    plan.sha256,
                    list(plan.ranges),
                    wholes[number],
                    sources[number].size,
                    [parts[number][offset] for offset in sorted(parts[number])],
                ),
                sources[number],
            )
            for number, plan in enumerate(plans)
        ]

    def _tile(self, source: _Source) -> list[tuple[int, int]]:
        """Return the parts of an object, none where it goes in one request."""
        return [] if self._sizes.is_whole(source.size) else self._sizes.tile(source.size)

    def _sign(self, items: Sequence[_Item]) -> list[wire.Upload]:
        request = wire.UploadRequest([item.new for item in items])
        answer = self._transport.call(
            "POST", f"{self._push_path}/uploads", body=wire.encode(request), repeatable=True
        )
        return wire.decode(wire.Uploads, answer).uploads

    def _upload_batch(self, items: Sequence[_Item]) -> int:
        tasks: list[Callable[[StopSign], None]] = []
        wanted = 0
        for item, upload in zip(items, self._sign(items), strict=True):
            for part in upload.parts:
                if part.request is not None:
                    tasks.append(partial(self._send_part, item, part))
                    wanted += part.size
        self._progress.total(wanted, what="Uploading")
        try:
            run_parallel(tasks)
        finally:
            self._progress.finish()
        return wanted

    def _send_part(self, item: _Item, part: wire.UploadPart, stop: StopSign) -> None:
        for attempt in range(1, MOST_SIGNATURES + 1):
            if part.request is None:
                return
            try:
                body = _CountedBody(item.source, part, stop, self._progress)
                self._transport.send(part.request, Body(part.size, body.open), headers={})
                return
            except AlreadyExists:
                return  # somebody else stored the same bytes meanwhile
            except Integrity as error:
                raise _changed(item.source.path) from error
            except (PermissionDenied, NotFound):
                # Expired; or the store dropped the upload, or it was finished by somebody else.
                if attempt == MOST_SIGNATURES:
                    raise
                part = self._sign_again(item, part)

    def _sign_again(self, item: _Item, part: wire.UploadPart) -> wire.UploadPart:
        (upload,) = self._sign([item])
        arrived = wire.UploadPart(part.offset, part.size, None)
        return next((again for again in upload.parts if again.offset == part.offset), arrived)


class _CountedBody:
    """A part's bytes that report their progress, also when they are sent again."""

    def __init__(
        self, source: _Source, part: wire.UploadPart, stop: StopSign, progress: Progress
    ) -> None:
        self._source = source
        self._part = part
        self._stop = stop
        self._progress = progress
        self._counted = 0

    def open(self) -> Iterator[memoryview]:
        self._progress.advance(-self._counted)
        self._counted = 0
        for piece in self._source.read(self._part.offset, self._part.size, self._stop):
            yield piece
            self._counted += len(piece)
            self._progress.advance(len(piece))


def _find_source(found: Path | Scattered, ranges: Ranges, salt: bytes) -> _Source:
    if isinstance(found, Path):
        return _Source(found, ranges, salt)
    return _Source(found.path, found.find(ranges), salt)


def _cut(ranges: Ranges, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the file that hold `size` bytes of the object from `offset` on."""
    position = 0
    for begin, end in ranges:
        first = max(begin, begin + offset - position)
        last = min(end, begin + offset + size - position)
        if first < last:
            yield first, last
        position += end - begin


def _changed(path: Path) -> InvalidInput:
    return InvalidInput(
        "file-changed",
        f"{path} changed while it was pushed: nothing was published; push again when it is saved.",
        path=str(path),
    )
