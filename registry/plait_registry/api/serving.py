"""Running the application under uvicorn, from the first listening socket to a clean stop.

What a client may not do to the others, by `Serving`'s figures:

- A request's head has to arrive whole within `stall_seconds`, and within a limit of bytes; bodies
  are watched by `request_body.py`.
- An answer has to move on: a client that takes none of it for `stall_seconds` is cut off.
- Beyond `connections`, requests are answered with 503 and the connection is closed; beyond
  `_SPARE` more, it is closed at once.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import cast

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from plait.errors import InvalidInput, Unavailable
from plait_registry.api.asgi import send_error
from plait_registry.settings import Serving

LARGEST_HEAD = 256 * 1024
"""Bytes of a request's line and headers: the longest cursor takes a quarter of them."""
_BACKLOG = 2_048
# Connections that get their 503 instead of being closed without a word.
_SPARE = 100
# Open files besides connections and what they read or write: database, store, libraries.
_FILES_BESIDE = 256

_LOG = logging.getLogger("plait_registry.serving")


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, so that the port is known and surely ours.

    Raises:
        InvalidInput: `usage`, the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound
    except OSError as error:
        raise InvalidInput(
            "usage",
            f"Cannot listen on {host}, port {port} ({error.strerror}): choose another with --host "
            "or --port (0 for any free port).",
        ) from error


def url_of(bound: socket.socket) -> str:
    """Return the URL at which a bound socket will answer."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 for clients that may be slow or hostile; uvicorn's own would wait for ever.

    All of it comes before any token is looked at. Trailers count as heads do.
    """

    serving: Serving
    """Set by the class that `_protocol_for` makes."""
    _gathered = 0
    _head_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None
    _unsent = 0

    @override
    def connection_made(  # type: ignore[override] # uvicorn narrows it, and knows why
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        surplus = len(self.connections) - self.serving.connections
        if surplus > _SPARE:
            transport.abort()
            return
        if surplus > 0:
            self.app = _answer_busy
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        _cancel(self._answer_timer)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        self._gathered += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._gathered > LARGEST_HEAD:
            self.send_400_response("The request's headers are too large.")
        elif self._head_timer is None and not self._is_answering():
            # Also for what is no head, such as the rest of a body that was refused.
            self._await_head()

    @override
    def on_headers_complete(self) -> None:
        self._gathered = 0
        _cancel(self._head_timer)
        self._head_timer = None
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._gathered = 0
        super().on_body(body)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    @override
    def resume_writing(self) -> None:
        _cancel(self._answer_timer)
        self._answer_timer = None
        super().resume_writing()

    def _is_answering(self) -> bool:
        # uvicorn does not say that there is none before the first request.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.serving.stall_seconds, self._cut_head)

    def _cut_head(self) -> None:
        self._head_timer = None
        # Nor may a half-sent second request end the answer to the first: it gets its time again
        # with the next bytes.
        if not self._is_answering():
            self.transport.abort()

    def _await_reader(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._answer_timer = self.loop.call_later(self.serving.stall_seconds, self._cut_answer)

    def _cut_answer(self) -> None:
        # The application writes nothing meanwhile, so the buffer can only shrink.
        if self.transport.get_write_buffer_size() >= self._unsent:
            self.transport.abort()
        else:
            self._await_reader()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _protocol_for(serving: Serving) -> type[_Protocol]:
    """Return the class whose instances know their limits; uvicorn makes them by itself."""
    return type("_LimitedProtocol", (_Protocol,), {"serving": serving})


async def _answer_busy(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer one request too many."""
    error = Unavailable("busy", "The registry has too many connections: try again in a moment.")
    await send_error(send, error, {}, headers={"connection": "close"})


class Server(uvicorn.Server):
    """uvicorn, telling when it answers and when it was told to stop."""

    def __init__(
        self,
        app: ASGIApp,
        serving: Serving,
        *,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                backlog=_BACKLOG,
                http=_protocol_for(serving),
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                # Longer than the clients' own pools keep connections, so that no request is sent
                # into one that is just being closed here.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=serving.stop_seconds,
                ws="none",
            )
        )
        self._serving = serving
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._stop_at: float | None = None

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        current_default_thread_limiter().total_tokens = self._serving.threads
        await super().startup(sockets)
        self._on_ready()

    @override
    async def on_tick(self, counter: int) -> bool:
        """Tell, ten times a second, whether to stop."""
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to stop; a second one ends the wait for load balancers."""
        self._on_stop()
        if self._stop_at is None and self._serving.drain_seconds:
            self._stop_at = time.monotonic() + self._serving.drain_seconds
        else:
            super().handle_exit(sig, frame)


def allow_open_files(serving: Serving) -> None:
    """Let this process open as many files as its connections may need, as far as the system lets.

    The usual limit, 1,024, is for programs that use select(); this one does not.
    """
    wanted = 2 * serving.connections + _FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        _LOG.warning(
            "the system allows %d open files, and PLAIT_CONNECTIONS=%d may take %d",
            hard,
            serving.connections,
            wanted,
        )
        wanted = hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
