"""Receivers of webhooks that misbehave below HTTP, over real sockets on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

Behaviour = Callable[[socket.socket, threading.Event], None]
"""What to do with a connection, until the event says that the test is over."""


@contextmanager
def receiving(behave: Behaviour) -> Generator[str, None, None]:
    """Accept connections while the block lasts, and yield the URL."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        behave(connection, over)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
        finally:
            over.set()
            thread.join()


def stall(_connection: socket.socket, over: threading.Event) -> None:
    """Take the request and say nothing."""
    over.wait(30)


def drip(connection: socket.socket, over: threading.Event) -> None:
    """Send a header that never ends, a byte at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.02):
        connection.sendall(b"a")


def flood(connection: socket.socket, over: threading.Event) -> None:
    """Accept the event, and answer with a body that never ends."""
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"a" * 65_536)


def repeat_continue(connection: socket.socket, over: threading.Event) -> None:
    """Say for ever that the request may go on."""
    while not over.wait(0.005):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def speak_nonsense(connection: socket.socket, _over: threading.Event) -> None:
    """Answer with what is no HTTP."""
    connection.recv(65_536)
    connection.sendall(b"220 mail.example.org ESMTP\r\n")


def hang_up(connection: socket.socket, _over: threading.Event) -> None:
    """Read the request and close."""
    connection.recv(65_536)
