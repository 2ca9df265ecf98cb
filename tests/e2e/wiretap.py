"""A relay in front of a registry: counts what really crosses the wire, and acts at a byte.

What a program says that it sent is one thing; this is the other.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CHUNK = 65_536


class Wiretap:
    """A TCP relay to a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        """Bytes from clients to the registry."""
        self.received = 0
        """Bytes from the registry to clients."""
        self.on_bytes: Callable[[], None] | None = None
        """Called after each relayed piece, from the relaying thread."""

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self.sent = self.received = 0

    def serve(self) -> None:
        """Relay until `close`."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink, is_sent in ((client, server, True), (server, client, False)):
                self._start(source, sink, is_sent=is_sent)

    def close(self) -> None:
        """Cut every connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            pairs = list(self._open)
        for item in pairs:
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()

    def _start(self, source: socket.socket, sink: socket.socket, *, is_sent: bool) -> None:
        def pump() -> None:
            with suppress(OSError):
                while piece := source.recv(CHUNK):
                    sink.sendall(piece)
                    self._count(len(piece), is_sent=is_sent)
            for item in (source, sink):
                with suppress(OSError):
                    item.shutdown(socket.SHUT_RDWR)

        source.settimeout(None)
        threading.Thread(target=pump, daemon=True).start()

    def _count(self, size: int, *, is_sent: bool) -> None:
        with self._lock:
            if is_sent:
                self.sent += size
            else:
                self.received += size
        if self.on_bytes is not None:
            self.on_bytes()


@contextmanager
def tap(target: int) -> Iterator[Wiretap]:
    """Relay to a port while the block runs."""
    wiretap = Wiretap(target)
    thread = threading.Thread(target=wiretap.serve, daemon=True)
    thread.start()
    try:
        yield wiretap
    finally:
        wiretap.close()
        thread.join(5)
