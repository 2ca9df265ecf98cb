"""A proxy on loopback that misbehaves on request, before a real server.

Each fault names the requests that it meets and is used up by the first of them, so a test says
what happens in which order: `proxy.fail(Busy(times=2), "PUT")`. Requests that no fault meets go
through byte for byte; the host's name stays as the client wrote it, since signatures cover it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

PIECE = 64 * 1024
LIMIT = 60.0
LARGEST_HEAD = 64 * 1024


@dataclass
class Fault:
    """What happens to a request."""

    times: int = 1


@dataclass
class Busy(Fault):
    """503 SlowDown instead of an answer."""

    status: str = "503 Slow Down"
    code: str = "SlowDown"


@dataclass
class CutRequest(Fault):
    """The connection ends after so many bytes of the request's body."""

    after: int = 0


@dataclass
class CutAnswer(Fault):
    """The connection ends after so many bytes of the answer, its head included."""

    after: int = 0


@dataclass
class LoseAnswer(Fault):
    """The server does what it was asked, and nobody hears of it."""


@dataclass
class Stall(Fault):
    """Nothing happens for a while, then the connection ends."""

    seconds: float = 1.0


@dataclass
class FaultyProxy:
    """The proxy's control, and what it saw."""

    target: tuple[str, int]
    seen: list[str] = field(default_factory=list)
    """Method and path of each request, in order."""
    heads: list[bytes] = field(default_factory=list)
    """All that came before each body."""
    is_away: bool = False
    """Whether connections are cut before they say anything."""
    port: int = 0
    _faults: list[tuple[Fault, str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, fault: Fault, method: str = "", containing: str = "") -> None:
        """Let the next requests of a method, with `containing` in their target, meet a fault."""
        with self._lock:
            self._faults.append((fault, method, containing))

    def count(self, method: str, containing: str = "") -> int:
        """Return how many such requests came."""
        with self._lock:
            lines = list(self.seen)
        return sum(line.startswith(method) and containing in line for line in lines)

    @property
    def pending(self) -> int:
        """How many faults nobody has met yet."""
        return len(self._faults)

    def _meet(self, line: str) -> Fault | None:
        with self._lock:
            self.seen.append(line)
            for item in self._faults:
                fault, method, containing = item
                if line.startswith(method) and containing in line:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(item)
                    return fault
        return None

    def serve(self, client: socket.socket) -> None:
        """Serve one connection, which carries one request."""
        with client, contextlib.suppress(OSError):
            client.settimeout(LIMIT)
            head, rest = _read_head(client)
            line = head.split(b"\r\n", 1)[0].decode("latin-1")
            if not line:
                return
            self.heads.append(head)
            fault = self._meet(line)
            if isinstance(fault, Stall):
                time.sleep(fault.seconds)
                return
            if isinstance(fault, Busy):
                _answer_busy(client, fault, head, rest)
                return
            with socket.create_connection(self.target, LIMIT) as server:
                server.sendall(_close_after(head))
                _exchange(client, server, rest, fault)


@contextmanager
def faulty_proxy(port: int) -> Generator[FaultyProxy]:
    """Run a proxy before a port of this machine."""
    proxy = FaultyProxy(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]
        threading.Thread(target=_accept, args=(listener, proxy), daemon=True).start()
        try:
            yield proxy
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, proxy: FaultyProxy) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # the test is over
        if proxy.is_away:
            client.close()
        else:
            threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(PIECE)
        if not piece or len(data) > LARGEST_HEAD:
            return b"", b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _close_after(head: bytes) -> bytes:
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


def _length_of(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _answer_busy(client: socket.socket, fault: Busy, head: bytes, rest: bytes) -> None:
    # The body is read first: a client that still writes would not see the answer.
    left = _length_of(head) - len(rest)
    if b"100-continue" in head.lower():
        left = 0
    while left > 0:
        piece = client.recv(PIECE)
        if not piece:
            return
        left -= len(piece)
    body = f"<Error><Code>{fault.code}</Code><Message>Later.</Message></Error>".encode()
    lines = [
        f"HTTP/1.1 {fault.status}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    ]
    client.sendall("\r\n".join(lines).encode() + body)


def _exchange(
    client: socket.socket, server: socket.socket, rest: bytes, fault: Fault | None
) -> None:
    upward = fault.after if isinstance(fault, CutRequest) else None
    if isinstance(fault, LoseAnswer):
        downward: int | None = 0
    else:
        downward = fault.after if isinstance(fault, CutAnswer) else None
    sender = threading.Thread(target=_send_up, args=(client, server, rest, upward), daemon=True)
    sender.start()
    _pump(server, client, downward, drain=isinstance(fault, LoseAnswer))
    for end in (client, server):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    sender.join(LIMIT)


def _send_up(client: socket.socket, server: socket.socket, rest: bytes, most: int | None) -> None:
    with contextlib.suppress(OSError):
        first = rest if most is None else rest[:most]
        server.sendall(first)
        if most is not None and len(first) >= most:
            _cut(client, server)
            return
        _pump(client, server, None if most is None else most - len(first), drain=False)
        if most is not None:
            _cut(client, server)


def _cut(client: socket.socket, server: socket.socket) -> None:
    for end in (client, server):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket, most: int | None, *, drain: bool) -> None:
    """Pass bytes on until the source ends, or `most` of them; then read the rest if `drain`."""
    with contextlib.suppress(OSError):
        left = most
        while piece := source.recv(PIECE):
            if left is not None:
                sink.sendall(piece[:left])
                left -= min(left, len(piece))
                if left == 0 and not drain:
                    return
            else:
                sink.sendall(piece)
