"""A relay in front of a registry: counts what really crosses the wire, and cuts it.

What a program says that it sent is one thing; this is the other.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK = 65_536


class Wiretap:
    """A TCP relay to a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._relays: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        """Bytes from clients to the registry."""
        self.received = 0
        """Bytes from the registry to clients."""

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
            server = self._connect()
            if server is None:
                client.close()
                continue
            relay = threading.Thread(target=self._relay, args=(client, server), daemon=True)
            self._relays.append(relay)
            relay.start()

    def cut(self) -> None:
        """End every connection, as a network that fails does; new ones are relayed again."""
        with self._lock:
            cut, self._open = self._open, set()
        for item in cut:
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Relay no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for relay in self._relays:
            relay.join(5)

    def _connect(self) -> socket.socket | None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=10)
        except OSError:
            return None
        if server.getsockname() == server.getpeername():
            # Nobody listens: the kernel gave this socket the very port that it was to reach.
            server.close()
            return None
        server.settimeout(None)
        return server

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        """Relay one connection in both directions until either side ends it."""
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(
            target=self._pump, args=(server, client), kwargs={"is_sent": False}, daemon=True
        )
        back.start()
        self._pump(client, server, is_sent=True)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, *, is_sent: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(CHUNK):
                sink.sendall(piece)
                self._count(len(piece), is_sent=is_sent)
        for item in (source, sink):
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)

    def _count(self, size: int, *, is_sent: bool) -> None:
        with self._lock:
            if is_sent:
                self.sent += size
            else:
                self.received += size


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
