"""Running the application under uvicorn, from the first listening socket to a clean stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from plait.errors import InvalidInput

STOP_SECONDS = 8
"""How long requests may take to finish after a signal to stop."""
LARGEST_HEAD = 256 * 1024
"""Bytes of a request's line and headers: the longest cursor takes a quarter of them."""
_BACKLOG = 2_048


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
    """HTTP/1.1, refusing heads that never end: uvicorn's would gather them without a limit.

    They come before any token is looked at. Trailers count as well.
    """

    _gathered = 0

    @override
    def data_received(self, data: bytes) -> None:
        self._gathered += len(data)
        super().data_received(data)
        if self._gathered > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's headers are too large.")

    @override
    def on_headers_complete(self) -> None:
        self._gathered = 0
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._gathered = 0
        super().on_body(body)


class Server(uvicorn.Server):
    """uvicorn, telling when it answers and when it was told to stop."""

    def __init__(
        self, app: ASGIApp, *, on_ready: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                backlog=_BACKLOG,
                http=_Protocol,
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                # Longer than the clients' own pools keep connections, so that no request is sent
                # into one that is just being closed here.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=STOP_SECONDS,
                ws="none",
            )
        )
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to stop."""
        self._on_stop()
        super().handle_exit(sig, frame)
