"""Connections to HTTP servers, kept open between requests; over `http.client`.

- A connection serves one request at a time; as many are opened as threads ask for, and the idle
  ones are kept for the next request to the same origin.
- An idle connection that the server has closed is noticed before it is used.
- A server that answers before it has read the whole body (a store that refuses it) is heard.
- TLS is verified against the system's certificates, where a company's own authority is installed.
- Proxies come as values: nothing here reads the environment.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import selectors
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

MOST_IDLE = 8
"""Idle connections kept for each origin: the threads of one transfer, and some."""
BLOCK_SIZE = 64 * 1024

ConnectionLost = (OSError, http.client.HTTPException)
"""What `http.client` raises where a connection fails. OSError includes timeouts and TLS errors."""

Content = bytes | Iterable[bytes | memoryview] | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a connection, and a token, belongs to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of an http or https address.

        Raises:
            ValueError: it is not one.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not an http or https address")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float = 10.0
    read: float = 60.0
    """Between two pieces of an answer, and for the first."""


@dataclass(slots=True)
class Exchange:
    """One request under way: its answer, and the connection that it occupies."""

    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection
    origin: Origin


class Connections:
    """The connections of one client; safe to use from several threads."""

    def __init__(self, timeouts: Timeouts, proxies: Mapping[str, str]) -> None:
        self._timeouts = timeouts
        self._proxies = proxies
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def begin(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: Content = None,
        patience: float | None = None,
    ) -> Exchange:
        """Send a request and return its answer, whose body is still to be read.

        Raises:
            ConnectionLost: there was no answer.
        """
        origin = Origin.of(url)
        connection = self._take(origin)
        try:
            connection.timeout = self._timeouts.connect
            if connection.sock is None:
                connection.connect()
            _set_timeout(connection, patience or self._timeouts.read)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # A server that refuses a body closes the connection behind its answer, and
                # writing fails; the answer then says why, or reading it fails too.
                connection.request(
                    method, self._target(url, origin), body=content, headers=dict(headers)
                )
            return Exchange(_read_answer(connection), connection, origin)
        except BaseException:
            connection.close()
            raise

    def end(self, exchange: Exchange) -> None:
        """Give the connection of an exchange back; it is kept only if its answer was read."""
        connection = exchange.connection
        reusable = exchange.response.isclosed() and not exchange.response.will_close
        with self._lock:
            idle = self._idle.setdefault(exchange.origin, [])
            if reusable and connection.sock is not None and len(idle) < MOST_IDLE:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle = [item for connections in self._idle.values() for item in connections]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def _take(self, origin: Origin) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                connection = idle.pop() if idle else None
            if connection is None:
                return self._open(origin)
            # Nothing is due from the server: if something can be read, it is the end.
            if connection.sock is not None and not _is_readable(connection):
                return connection
            connection.close()

    def _open(self, origin: Origin) -> http.client.HTTPConnection:
        proxy = self._find_proxy(origin)
        server = Origin.of(proxy) if proxy else origin
        if origin.scheme == "http":
            return _Plain(server.host, server.port, blocksize=BLOCK_SIZE)
        connection = _Secure(
            server.host, server.port, blocksize=BLOCK_SIZE, context=self._get_context()
        )
        if proxy:
            connection.set_tunnel(origin.host, origin.port, headers=_authorize(proxy))
        return connection

    def _get_context(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                # Reading the system's certificates takes some 20 ms: once, and only for https.
                self._context = ssl.create_default_context()
            return self._context

    def _find_proxy(self, origin: Origin) -> str | None:
        for suffix in self._proxies.get("no", "").split(","):
            name = suffix.strip().lstrip(".").lower()
            if name == "*" or (name and f".{origin.host}".endswith(f".{name}")):
                return None
        return self._proxies.get(origin.scheme)

    def _target(self, url: str, origin: Origin) -> str:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # A proxy that does not tunnel is told the whole address (RFC 9112, 3.2.2).
        is_relayed = origin.scheme == "http" and self._find_proxy(origin)
        return f"{origin}{path}" if is_relayed else path


class _Plain(http.client.HTTPConnection):
    """An HTTP connection that reconnects only when told to."""

    auto_open = 0


class _Secure(http.client.HTTPSConnection):
    """The same over TLS."""

    auto_open = 0


def _set_timeout(connection: http.client.HTTPConnection, seconds: float) -> None:
    if connection.sock is not None:
        connection.sock.settimeout(seconds)


def _read_answer(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    try:
        return connection.getresponse()
    except http.client.ResponseNotReady as error:
        raise ConnectionResetError("The connection was lost while the request was sent.") from error


def _is_readable(connection: http.client.HTTPConnection) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _authorize(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
