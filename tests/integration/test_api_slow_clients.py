"""Clients that are slow, silent or many, over real sockets: they are cut, and others are not."""

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from plait.model.ids import hash_bytes
from plait_registry.adapters.url_signing import Grant, UrlSigner
from served.running import Running, running, wait_until

STALL = 1
"""Seconds."""
LIMIT = 20
CONNECTIONS = 5


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("data"), STALL_SECONDS=str(STALL)) as server:
        yield server


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), LIMIT)


def head(registry: Running, first: str, *headers: str) -> bytes:
    lines = [first, "host: x", f"authorization: Bearer {registry.token}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def read_to_the_end(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def upload_head(registry: Running, size: int) -> bytes:
    """Return the head of a PUT of `size` bytes that the object store will wait for."""
    object_id = hash_bytes(str(size).encode())
    grant = Grant(object_id, "0" * 32, 0, size, size)
    signed = UrlSigner(registry.folder.signing_key()).sign_upload(grant)
    headers = [f"{name}: {value}" for name, value in signed.headers.items()]
    return head(registry, f"PUT {signed.url} HTTP/1.1", *headers, f"content-length: {size}")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"GET / HTTP/1.1\r\nX: "])
def test_head_that_does_not_arrive_is_cut(registry: Running, sent: bytes) -> None:
    with connect(registry.url) as connection:
        begun = time.monotonic()
        connection.sendall(sent)
        assert read_to_the_end(connection) == b""
        assert STALL * 0.8 < time.monotonic() - begun < LIMIT


def test_head_that_trickles_is_cut(registry: Running) -> None:
    with connect(registry.url) as connection:
        connection.settimeout(0.1)
        begun = time.monotonic()
        connection.sendall(b"GET / HTTP/1.1\r\n")
        while time.monotonic() - begun < LIMIT:
            try:
                connection.sendall(b"X-A: b\r\n")
                if not connection.recv(1):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert STALL * 0.8 < time.monotonic() - begun < LIMIT / 2


def test_idle_connection_between_requests_is_kept(registry: Running) -> None:
    with connect(registry.url) as connection:
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(4_096).startswith(b"HTTP/1.1 200")
            time.sleep(STALL * 1.5)


@pytest.mark.parametrize("part", [b"", b'{"namespace": "a",'])
def test_json_body_that_stalls_is_answered_cut_and_logged(
    registry: Running, caplog: pytest.LogCaptureFixture, part: bytes
) -> None:
    caplog.set_level(logging.INFO)
    with connect(registry.url) as connection:
        connection.sendall(
            head(
                registry,
                "POST /api/v1/repositories HTTP/1.1",
                "content-type: application/json",
                "content-length: 1000",
            )
            + part
        )
        answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"request-stalled"' in answer
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1

    def find() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "plait_registry.access"]

    wait_until(lambda: bool(find()))
    line = vars(find()[0])
    assert (line["status"], line["kind"]) == (408, "request-stalled")


def test_json_body_that_trickles_is_cut(registry: Running) -> None:
    with connect(registry.url) as connection:
        connection.settimeout(0.1)
        connection.sendall(
            head(
                registry,
                "POST /api/v1/repositories HTTP/1.1",
                "content-type: application/json",
                "transfer-encoding: chunked",
            )
        )
        begun = time.monotonic()
        answer = b""
        while not answer and time.monotonic() - begun < LIMIT:
            connection.sendall(b"1\r\n \r\n")
            try:
                answer = connection.recv(4_096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_slow_body_that_moves_on_is_taken(registry: Running) -> None:
    body = b'{"namespace": "slow", "name": "one"}'

    def pieces() -> Iterator[bytes]:
        yield b" " * 65_536
        time.sleep(STALL * 0.7)
        yield b" " * 65_536
        time.sleep(STALL * 0.7)
        yield body

    headers = {"content-type": "application/json"}
    answer = registry.client.post("/api/v1/repositories", content=pieces(), headers=headers)
    assert answer.status_code == 201


def test_upload_that_stalls_is_cut_and_leaves_nothing(registry: Running) -> None:
    incoming = registry.folder.root / "incoming"
    with connect(registry.url) as connection:
        connection.sendall(upload_head(registry, 3_000_000) + b"x" * 1_500_000)
        wait_until(lambda: any(incoming.iterdir()))
        answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: not any(incoming.iterdir()))


def test_reader_that_takes_nothing_is_cut(registry: Running) -> None:
    data = bytes(40_000_000)
    object_id = hash_bytes(data)
    store = registry.folder.root / "objects" / "sha256" / object_id[:2]
    store.mkdir(parents=True, exist_ok=True)
    (store / object_id).write_bytes(data)
    signed = UrlSigner(registry.folder.signing_key()).sign_read(object_id)
    with connect(registry.url) as connection:
        connection.sendall(head(registry, f"GET {signed.url} HTTP/1.1"))
        time.sleep(STALL * 3)
        assert len(read_to_the_end(connection)) < len(data)
    assert httpx.get(registry.url + signed.url).content == data


def test_rest_of_a_refused_body_is_not_waited_for_for_ever(registry: Running) -> None:
    with connect(registry.url) as connection:
        connection.sendall(
            b"POST /api/v1/repositories HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
        )
        assert connection.recv(4_096).startswith(b"HTTP/1.1 401 ")
        connection.sendall(b" ")
        begun = time.monotonic()
        read_to_the_end(connection)
        assert time.monotonic() - begun < LIMIT / 2


def test_one_connection_too_many_is_told_to_come_back(tmp_path: Path) -> None:
    with running(tmp_path, CONNECTIONS=str(CONNECTIONS)) as server:
        held = [connect(server.url) for _ in range(CONNECTIONS)]
        try:
            for connection in held:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                assert connection.recv(4_096).startswith(b"HTTP/1.1 200 ")
            answer = httpx.get(f"{server.url}/healthz")
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert answer.headers["connection"] == "close"
            assert answer.json()["error"]["kind"] == "busy"
            held[0].sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert held[0].recv(4_096).startswith(b"HTTP/1.1 200 ")
        finally:
            for connection in held:
                connection.close()
        wait_until(lambda: httpx.get(f"{server.url}/healthz").status_code == 200)


def test_connections_far_beyond_the_limit_are_closed_without_a_word(tmp_path: Path) -> None:
    with running(tmp_path, CONNECTIONS="1") as server:
        held = [connect(server.url) for _ in range(110)]
        try:
            closed = 0
            for connection in held[-5:]:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                closed += read_to_the_end(connection) == b""
            assert closed == 5
        finally:
            for connection in held:
                connection.close()
        wait_until(lambda: httpx.get(f"{server.url}/healthz").status_code == 200)
