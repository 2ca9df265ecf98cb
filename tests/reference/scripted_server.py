"""An HTTP server that answers what a test tells it to, over real sockets, and notes what it got."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """One answer; the last one of a script repeats."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """What Content-Length claims, where that is not the body's length."""
    reads_body: bool = True
    """Whether the request's body is read before answering; else it is after, as stores linger."""
    hangs_up: bool = False
    """Close the connection without a word."""


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """The same number: the same connection."""


class ScriptedServer(ThreadingHTTPServer):
    """Serves a script of answers on a free port of this machine."""

    daemon_threads = True

    def __init__(self, script: list[Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.received: list[Received] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that went away, which is what some tests are about."""


@contextmanager
def serve(*script: Answer) -> Iterator[ScriptedServer]:
    """Run a server while the block lasts."""
    server = ScriptedServer(list(script) or [Answer()])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer
    # Headers and body in one piece: Nagle's algorithm would hold the body back for 40 ms.
    wbufsize = -1

    def _answer(self) -> None:
        with self.server.lock:
            number = len(self.server.received)
            answer = self.server.script[min(number, len(self.server.script) - 1)]
            self.server.received.append(self._receive(answer))
        if answer.hangs_up:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        length = len(answer.body) if answer.length is None else answer.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()
        if not answer.reads_body:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if length != len(answer.body) or not answer.reads_body:
            self.close_connection = True

    def _receive(self, answer: Answer) -> Received:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length) if answer.reads_body else b""
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Received(self.command, self.path, headers, body, self.client_address[1])

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        """Log nothing."""
