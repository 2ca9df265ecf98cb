"""The gateway of the folder store: PUT and GET of objects by signed URLs, as a stream.

Answers as an object store in the cloud does, so that a client needs to know only one protocol:

    PUT    200; 400 wrong bytes or length, 403 signature, 412 here already
    GET    200, 206 for one range, 403 signature, 404, 416; HEAD the same without a body

Where the signature limits a read to one range, that is the answer, whatever range was asked for.

A body passes through in pieces of about 1 MiB: one is hashed and written in a worker thread while
the next one is gathered. Nothing else is ever in memory, and a sender that is faster than the disk
is slowed down by TCP. This is ASGI without a framework; docs/decisions/0013 says why it is
asynchronous.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
from anyio.to_thread import run_sync
from starlette.types import Message, Receive, Scope, Send

from plait.errors import Integrity, InvalidInput, NotFound, PlaitError
from plait.model.byte_range import write_range
from plait.model.ids import ObjectId
from plait_registry.api.asgi import read_headers, send_error, start_message

PIECE_SIZE = 1024 * 1024

# What differs from the API: clients expect an object store's statuses here.
_STATUS_OF_KIND = {
    "digest-mismatch": 400,
    "size-mismatch": 400,
    "invalid-input": 400,
    "object-exists": 412,
    "range-not-satisfiable": 416,
    "route-not-found": 405,
}
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))", re.ASCII)


class Upload(Protocol):
    """Where the body of one PUT goes."""

    size: int
    """Bytes that the body must have."""

    def write(self, chunks: Sequence[bytes], /) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """Verify what was written, and make it count."""

    def close(self) -> None:
        """Let go; what was not finished leaves nothing visible behind."""


class Reading(Protocol):
    """An object that is being read."""

    object_id: ObjectId
    size: int
    span: tuple[int, int] | None
    """The begin and the end of what alone may be read; None: any range."""

    def read(self, offset: int, size: int, /) -> bytes:
        """Return exactly `size` bytes."""

    def close(self) -> None:
        """Let go."""


class SignedObjects(Protocol):
    """The store behind the gateway, which checks the signatures."""

    def open_upload(self, path: str, query: str, headers: Mapping[str, str], /) -> Upload:
        """Return where to write the body of a PUT; `headers` have lowercase names."""

    def open_read(self, path: str, query: str, /) -> Reading:
        """Return the object that a GET or HEAD may read."""


class _SenderGone(Exception):
    """The client went away in the middle of its body."""


@dataclass(frozen=True, slots=True)
class ObjectGateway:
    """The ASGI application at `/objects`."""

    objects: SignedObjects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = read_headers(scope)
        try:
            if scope["method"] == "PUT":
                await self._put(scope, headers, receive)
                await _send_empty(send, 200)
            elif scope["method"] in ("GET", "HEAD"):
                await self._get(scope, headers, receive, send)
            else:
                raise NotFound("route-not-found", "Objects are read by GET and written by PUT.")
        except _SenderGone:
            return
        except PlaitError as error:
            await _refuse(send, error, headers)

    async def _put(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> None:
        upload = await run_sync(self.objects.open_upload, scope["path"], _query(scope), headers)
        thread = _Thread()
        try:
            length = headers.get("content-length")
            if length is not None and length != str(upload.size):
                raise _wrong_size(upload.size)
            await _receive_into(upload, thread, receive)
            await thread.start(upload.finish)
            await thread.drain()
        finally:
            # No file is closed under the thread's hands, also where the server stops in the middle.
            # Closing needs no thread: one that stops would not wait for it.
            await thread.settle()
            upload.close()

    async def _get(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        reading = await run_sync(self.objects.open_read, scope["path"], _query(scope))
        try:
            found = _find_allowed(reading, headers)
            await send(_start_reading(reading, found, partial=found is not None))
            start, stop = found or (0, reading.size)
            if scope["method"] == "HEAD":
                stop = start
            async with anyio.create_task_group() as group:
                group.start_soon(_watch, receive, group.cancel_scope)
                await _send_body(reading, start, stop, send)
                group.cancel_scope.cancel()
        finally:
            reading.close()


class _Thread:
    """Does one thing at a time in a worker thread, while the event loop goes on."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self, work: Callable[..., None], *arguments: object) -> None:
        """Begin something, once what was begun before is done."""
        await self.drain()
        self._task = asyncio.create_task(run_sync(work, *arguments))

    async def drain(self) -> None:
        """Wait until all is done; raises what was raised."""
        await self.settle()
        task, self._task = self._task, None
        if task is not None:
            task.result()

    async def settle(self) -> None:
        """Wait until the thread is idle, however its work went."""
        if self._task is not None:
            # To await the task itself would hand it a cancellation, which a thread cannot obey.
            await asyncio.wait([self._task])
            # Looked at here, since an earlier failure may keep `drain` from being called.
            self._task.exception()


async def _receive_into(upload: Upload, thread: _Thread, receive: Receive) -> None:
    """Write a body; stop reading as soon as it is longer than it may be."""
    chunks: list[bytes] = []
    held = seen = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _SenderGone
        body = message.get("body", b"")
        more = message.get("more_body", False)
        chunks.append(body)
        held += len(body)
        seen += len(body)
        if seen > upload.size:
            raise _wrong_size(upload.size)
        if held >= PIECE_SIZE:
            await thread.start(upload.write, chunks)
            chunks, held = [], 0
    await thread.start(upload.write, chunks)


async def _send_body(reading: Reading, start: int, stop: int, send: Send) -> None:
    while start < stop:
        piece = await run_sync(reading.read, start, min(PIECE_SIZE, stop - start))
        start += len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    """Stop the sending when the client goes away: the server itself would go on into nothing."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _find_allowed(reading: Reading, headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the range to answer with, or None for all of the object; raises as `_find_range`."""
    if reading.span is not None:
        return _find_range(write_range(*reading.span), reading.size)
    etag = f'"{reading.object_id}"'
    wanted = headers.get("range") if headers.get("if-range", etag) == etag else None
    return _find_range(wanted, reading.size)


def _find_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the one range that is asked for, or None for all of the object.

    What is no single range of bytes is ignored, as RFC 9110 section 14.2 wants it.

    Raises:
        InvalidInput: `range-not-satisfiable`, the range lies outside the object.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), size if last is None else min(int(last) + 1, size)
        if last is not None and int(last) < start:
            return None
    if start >= stop:
        raise InvalidInput("range-not-satisfiable", f"The object has only {size} bytes.", size=size)
    return start, stop


def _start_reading(reading: Reading, found: tuple[int, int] | None, *, partial: bool) -> Message:
    start, stop = found or (0, reading.size)
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(stop - start),
        "accept-ranges": "bytes",
        "etag": f'"{reading.object_id}"',
        "cache-control": "private, immutable",
    }
    if partial:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{reading.size}"
    return start_message(206 if partial else 200, headers)


async def _send_empty(send: Send, status: int) -> None:
    await send(start_message(status, {"content-length": "0"}))
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, error: PlaitError, request: Mapping[str, str]) -> None:
    headers = {}
    if error.kind == "range-not-satisfiable":
        headers["content-range"] = f"bytes */{error.details['size']}"
    if error.kind == "route-not-found":
        headers["allow"] = "GET, HEAD, PUT"
    status = _STATUS_OF_KIND.get(error.kind)
    await send_error(send, error, request, status=status, headers=headers)


def _query(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return query.decode("latin-1")


def _wrong_size(size: int) -> Integrity:
    return Integrity("size-mismatch", f"The body must have exactly {size} bytes.", size=size)
