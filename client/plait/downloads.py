"""Fetching ranges of stored files into local files, in parallel and resumable.

- Bytes go to `NAME.partial` beside the destination; only a file that passed its check gets its
  name, so whatever has the name is complete.
- Beside a large file's `.partial` a list of its finished ranges is kept, and a fetch that was
  killed goes on where it was. Two processes never write to one `.partial`: the second takes
  another name.
- Stored ranges that lie close together are fetched by one request, if most of it is wanted.
- A lost connection is taken up where it broke; an expired signature is asked for again.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path

from plait import wire
from plait.errors import Integrity, PermissionDenied, Unavailable
from plait.model.address import RepositoryName
from plait.model.ids import ObjectId
from plait.parallel import StopSign, run_parallel
from plait.partial_file import PartialFile
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport, repository_path

SEGMENT_SIZE = 16 << 20
"""Bytes of one request: several run at once, and a lost one costs little."""
MOST_ATTEMPTS = 3
"""For one segment, without any progress in between; the transport tries several times in each."""
BATCH = 200
"""Files that are fetched at once, since each holds a descriptor."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of a stored file and where it goes."""

    begin: int
    end: int
    """In the stored file."""
    at: int
    """In the destination."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A local file to be made from ranges of a stored one."""

    file: ObjectId
    size: int
    """Bytes of the destination."""
    destination: Path
    pieces: Sequence[Piece]
    verify: Callable[[Path], None]
    """Raises if the bytes at the path it is given are not the right ones."""
    preamble: bytes = b""
    """Goes to the beginning of the destination."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of an object that one request fetches, and where its parts go."""

    object: int
    start: int
    stop: int
    parts: tuple[Piece, ...]
    """Ranges of the object, ascending; what lies between them is thrown away."""


@dataclass(slots=True)
class _Job:
    """A fetch under way."""

    fetch: Fetch
    source: wire.FileSource
    objects: list[wire.SignedRequest]
    target: PartialFile
    left: int = 0
    """Segments that are not finished."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Downloader:
    """Fetches files of one repository."""

    def __init__(
        self, transport: Transport, repository: RepositoryName, progress: Progress = NO_PROGRESS
    ) -> None:
        self._transport = transport
        self._path = repository_path(repository, "/downloads")
        self._progress = progress

    def fetch(self, fetches: Sequence[Fetch]) -> int:
        """Make all destinations; return how many bytes were wanted from the registry.

        Raises:
            Integrity: `digest-mismatch`; the bad bytes are removed.
            Unavailable: the registry cannot be reached, or `disk-full`; what arrived is kept.
        """
        received = 0
        for first in range(0, len(fetches), BATCH):
            batch = fetches[first : first + BATCH]
            try:
                received += self._fetch_batch(batch)
            except _LeftoverSpoiled:
                # What an earlier process left was not what it said: removed, and begun anew.
                left = [fetch for fetch in batch if not fetch.destination.exists()]
                received += self._fetch_batch(left)
        return received

    def read(self, file: ObjectId, begin: int, end: int) -> bytes:
        """Return a small range of a stored file, as a header; the caller verifies it."""
        source, objects = self._sign([file])[0]
        data = bytearray(end - begin)
        for segment in plan_segments(source, [Piece(begin, end, 0)]):
            position = segment.start
            for piece in self._transport.receive(
                objects[segment.object], segment.start, segment.stop
            ):
                for at, view in _select(segment, position, piece):
                    data[at : at + len(view)] = view
                position += len(piece)
        return bytes(data)

    def _sign(
        self, files: Sequence[ObjectId]
    ) -> list[tuple[wire.FileSource, list[wire.SignedRequest]]]:
        request = wire.DownloadRequest(list(files))
        answer = self._transport.call(
            "POST", self._path, body=wire.encode(request), repeatable=True
        )
        downloads = wire.decode(wire.Downloads, answer)
        if [source.sha256 for source in downloads.files] != list(files):
            raise Unavailable(
                "registry-misbehaved", "The registry answered about other files than asked for."
            )
        return [(source, downloads.objects) for source in downloads.files]

    def _fetch_batch(self, fetches: Sequence[Fetch]) -> int:
        signed = self._sign([fetch.file for fetch in fetches])
        tasks: list[Callable[[StopSign], None]] = []
        jobs: list[_Job] = []
        wanted = 0
        try:
            for fetch, (source, objects) in zip(fetches, signed, strict=True):
                segments = plan_segments(source, fetch.pieces)
                target = PartialFile.open(
                    fetch.destination, fetch.size, resumable=len(segments) > 1
                )
                job = _Job(fetch, source, objects, target)
                jobs.append(job)
                missing = [segment for segment in segments if not target.has(segment.parts)]
                job.left = len(missing)
                wanted += sum(part.end - part.begin for item in missing for part in item.parts)
                tasks += [partial(self._fetch_segment, job, segment) for segment in missing]
                if not missing:
                    tasks.append(partial(self._finish, job))
            self._progress.total(wanted, what="Downloading")
            run_parallel(tasks)
        finally:
            self._progress.finish()
            for job in jobs:
                job.target.close()
        return wanted

    def _fetch_segment(self, job: _Job, segment: Segment, stop: StopSign) -> None:
        position = segment.start
        attempt = 1
        while position < segment.stop:
            before = position
            try:
                request = job.objects[segment.object]
                for piece in self._transport.receive(request, position, segment.stop):
                    stop.check()
                    for at, view in _select(segment, position, piece):
                        job.target.write(at, view)
                        self._progress.advance(len(view))
                    position += len(piece)
            except (PermissionDenied, Unavailable) as error:
                attempt = attempt + 1 if position == before else 1
                if attempt > MOST_ATTEMPTS or error.kind == "disk-full":
                    raise
                if isinstance(error, PermissionDenied):
                    self._sign_again(job)
        job.target.mark(segment.parts)
        with job.lock:
            job.left -= 1
            is_last = job.left == 0
        if is_last:
            self._finish(job, stop)

    def _sign_again(self, job: _Job) -> None:
        with job.lock:
            source, objects = self._sign([job.fetch.file])[0]
            if [(e.offset, e.size) for e in source.extents] != [
                (e.offset, e.size) for e in job.source.extents
            ]:
                raise Unavailable("busy", "The registry moved the file meanwhile: try again.")
            renamed = dict(
                zip(
                    (extent.object for extent in job.source.extents),
                    (extent.object for extent in source.extents),
                    strict=True,
                )
            )
            job.objects = [
                objects[renamed[index]] if index in renamed else request
                for index, request in enumerate(job.objects)
            ]

    def _finish(self, job: _Job, stop: StopSign) -> None:
        stop.check()
        if job.fetch.preamble:
            job.target.write(0, memoryview(job.fetch.preamble))
        try:
            job.target.finish(job.fetch.verify)
        except Integrity as error:
            raise _LeftoverSpoiled(error) if job.target.is_resumed else error from error


class _LeftoverSpoiled(Integrity):
    """The bytes are wrong, but some of them came from an earlier process."""

    def __init__(self, error: Integrity) -> None:
        super().__init__(error.kind, error.message, **error.details)


def plan_segments(source: wire.FileSource, pieces: Sequence[Piece]) -> list[Segment]:
    """Return the requests that fetch `pieces` of a file from the objects that hold it.

    Two ranges of one object share a request while at least half of what it fetches is wanted.
    """
    starts = list(accumulate((extent.size for extent in source.extents), initial=0))
    wanted = sorted(
        (part for piece in pieces for part in _locate(source.extents, starts, piece)),
        key=lambda item: (item[0], item[1].begin),
    )
    segments: list[Segment] = []
    parts: list[Piece] = []
    current = -1
    useful = 0
    for number, part in wanted:
        size = part.end - part.begin
        if parts:
            span = part.end - parts[0].begin
            overlaps = part.begin < parts[-1].end
            is_sparse = span > 2 * (useful + size)
            if number != current or overlaps or span > SEGMENT_SIZE or is_sparse:
                segments.append(_segment(current, parts))
                parts, useful = [], 0
        current = number
        parts.append(part)
        useful += size
    if parts:
        segments.append(_segment(current, parts))
    return segments


def _segment(number: int, parts: list[Piece]) -> Segment:
    return Segment(number, parts[0].begin, parts[-1].end, tuple(parts))


def _locate(
    extents: Sequence[wire.Extent], starts: Sequence[int], piece: Piece
) -> Iterator[tuple[int, Piece]]:
    """Yield the object and the range of it for each stored part of `piece`, of bounded size.

    `starts` says where each extent begins in the file, and then where the file ends.
    """
    if piece.end > starts[-1]:
        raise Unavailable(
            "registry-misbehaved", "The registry says where only a part of a file is."
        )
    first = max(0, bisect_right(starts, piece.begin) - 1)
    for number in range(first, len(extents)):
        extent, position = extents[number], starts[number]
        if position >= piece.end:
            return
        begin, end = max(piece.begin, position), min(piece.end, position + extent.size)
        while begin < end:
            cut = min(end, begin + SEGMENT_SIZE)
            offset = extent.offset + begin - position
            yield extent.object, Piece(offset, offset + cut - begin, piece.at + begin - piece.begin)
            begin = cut


def _select(segment: Segment, position: int, data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield what of `data`, which begins at `position` of the object, is wanted, and where."""
    for part in segment.parts:
        begin, end = max(part.begin, position), min(part.end, position + len(data))
        if begin < end:
            yield part.at + begin - part.begin, data[begin - position : end - position]
