"""Sending the objects of a push to the store, in parallel and in parts.

A file goes whole, or as the ranges of it that the registry lacks, joined into one object. What
arrived before an interruption is not sent again. The digest of everything that is sent travels
with it, so that the store itself refuses bytes that changed on the way, or in the file.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from plait import wire
from plait.describe import open_regular
from plait.errors import AlreadyExists, Integrity, InvalidInput, PermissionDenied
from plait.model.ids import ObjectId
from plait.model.paths import FilePath
from plait.parallel import StopSign, run_parallel
from plait.progress import Progress
from plait.transport import PIECE_SIZE, Body, Transport

MOST_SIGNATURES = 3
"""A signature that expires while others are sent is asked for again; more often is a fault."""

Ranges = Sequence[tuple[int, int]]
FindFile = Callable[[ObjectId], Path]
"""Returns where on this machine the file of a digest is."""


@dataclass(frozen=True, slots=True)
class _Source:
    """An object as ranges of a local file."""

    path: Path
    ranges: Ranges

    def read(self, offset: int, size: int, stop: StopSign) -> Iterator[memoryview]:
        """Yield the object's bytes from `offset` on; each piece is overwritten by the next."""
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


@dataclass(frozen=True, slots=True)
class _Item:
    """An object to upload."""

    new: wire.NewObject
    source: _Source


class Uploader:
    """Uploads what the plans of one push ask for."""

    def __init__(
        self, transport: Transport, push_path: str, find_file: FindFile, progress: Progress
    ) -> None:
        self._transport = transport
        self._push_path = push_path
        self._find_file = find_file
        self._progress = progress

    def upload(self, plans: Sequence[wire.FilePlan]) -> int:
        """Send what `plans` ask for; return how many bytes went.

        Raises:
            InvalidInput: `file-changed`, a file is no longer the one that was described.
            Unavailable: the store or the registry cannot be reached.
        """
        items = self._prepare(plans)
        sent = 0
        for first in range(0, len(items), wire.MOST_FILES_PER_CALL):
            sent += self._upload_batch(items[first : first + wire.MOST_FILES_PER_CALL])
        return sent

    def _prepare(self, plans: Sequence[wire.FilePlan]) -> list[_Item]:
        """Return the objects; a part of a file must be read once to know its digest."""
        items: dict[int, _Item] = {}

        def prepare(number: int, plan: wire.FilePlan, stop: StopSign) -> None:
            source = _Source(self._find_file(ObjectId(plan.sha256)), plan.ranges)
            size = sum(end - begin for begin, end in plan.ranges)
            is_whole = list(plan.ranges) == [(0, plan.size)]
            digest = plan.sha256 if is_whole else source.digest(0, size, stop).hex()
            new = wire.NewObject(plan.sha256, list(plan.ranges), digest, size)
            items[number] = _Item(new, source)

        run_parallel(partial(prepare, number, plan) for number, plan in enumerate(plans))
        return [items[number] for number in sorted(items)]

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
        is_whole = part.offset == 0 and part.size == item.new.size
        headers = {}
        if not is_whole:
            digest = item.source.digest(part.offset, part.size, stop)
            headers[wire.CHECKSUM_HEADER] = base64.b64encode(digest).decode()
        for attempt in range(1, MOST_SIGNATURES + 1):
            if part.request is None:
                return
            try:
                body = _CountedBody(item.source, part, stop, self._progress)
                self._transport.send(part.request, Body(part.size, body.open), headers=headers)
                return
            except AlreadyExists:
                return  # somebody else stored the same bytes meanwhile
            except Integrity as error:
                raise _changed(item.source.path) from error
            except PermissionDenied:
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
