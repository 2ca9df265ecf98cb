"""A balancer of TCP connections before several replicas, as small as one can be.

Connections go to the replicas in turn; one that does not answer is passed over. A connection whose
replica dies ends, and the client comes back for another.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

PIECE = 64 * 1024
CONNECT_LIMIT = 5.0


@contextmanager
def balancer(ports: Sequence[int]) -> Generator[str]:
    """Run a balancer before ports of this machine, and yield its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        thread = threading.Thread(target=_accept, args=(listener, ports), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, ports: Sequence[int]) -> None:
    for number in itertools.count():
        try:
            client, _ = listener.accept()
        except OSError:
            return  # nobody wants it any more
        first = number % len(ports)
        order = [*ports[first:], *ports[:first]]
        threading.Thread(target=_serve, args=(client, order), daemon=True).start()


def _serve(client: socket.socket, ports: Sequence[int]) -> None:
    with client, contextlib.suppress(OSError):
        server = _connect(ports)
        if server is None:
            return
        with server:
            upward = threading.Thread(target=_pump, args=(client, server), daemon=True)
            upward.start()
            _pump(server, client)
            upward.join()


def _connect(ports: Sequence[int]) -> socket.socket | None:
    for port in ports:
        with contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", port), CONNECT_LIMIT)
            if server.getsockname() != server.getpeername():
                server.settimeout(None)
                return server
            # Nobody listens: the kernel gave this socket the very port that it was to reach.
            server.close()
    return None


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until the source ends, then end both, so that the other direction ends too."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            sink.sendall(piece)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
