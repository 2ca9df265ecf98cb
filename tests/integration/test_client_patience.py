"""How long the HTTP transport goes on when a registry or a store is away."""

import socket

import pytest

from plait.errors import Unavailable
from plait.http_connections import Timeouts
from plait.http_transport import HttpOptions, HttpTransport, Retries
from plait.transport import Body
from plait.wire import SignedRequest
from reference.scripted_server import Answer, serve

BUSY = Answer(503, b"busy")
LAST = Answer(body=b"[1]", headers={"Connection": "close"})


class Clock:
    """Time that passes by pauses alone, and by as much as each attempt is said to take."""

    def __init__(self, *, attempt_takes: float = 0.0) -> None:
        self.pauses: list[float] = []
        self._now = 100.0
        self._attempt_takes = attempt_takes

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._now += seconds

    def read(self) -> float:
        self._now += self._attempt_takes
        return self._now

    def retries(self, *, jitter: float = 0.5) -> Retries:
        return Retries(sleep=self.sleep, clock=self.read, jitter=lambda: jitter)


def connect(url: str, clock: Clock, *, jitter: float = 0.5) -> HttpTransport:
    options = HttpOptions(Timeouts(connect=5, read=5), clock.retries(jitter=jitter))
    return HttpTransport(url, "token", options)


def test_transfer_waits_for_half_a_minute_in_ever_longer_pauses() -> None:
    clock = Clock()
    with serve(BUSY) as server:
        transport = connect(server.url, clock)
        with pytest.raises(Unavailable):
            transport.call("POST", "/complete", repeatable=True)
        transport.close()
    assert clock.pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5, 5])


def test_unluckiest_client_still_outlasts_ten_seconds() -> None:
    clock = Clock()
    with serve(BUSY) as server:
        transport = connect(server.url, clock, jitter=0.0)
        with pytest.raises(Unavailable):
            transport.call("GET", "/x")
        transport.close()
    assert sum(clock.pauses) > 15


def test_attempts_that_take_long_to_fail_are_few() -> None:
    clock = Clock(attempt_takes=60.0)
    with serve(BUSY) as server:
        transport = connect(server.url, clock)
        with pytest.raises(Unavailable):
            transport.call("GET", "/x")
        transport.close()
    assert len(clock.pauses) == 1


def test_registry_that_never_answered_is_soon_said_to_be_unreachable() -> None:
    clock = Clock()
    transport = connect(f"http://127.0.0.1:{free_port()}", clock)
    with pytest.raises(Unavailable) as caught:
        transport.call("GET", "/x")
    transport.close()
    assert caught.value.kind == "registry-unreachable"
    assert clock.pauses == pytest.approx([0.2, 0.4])


def test_registry_that_answered_before_is_waited_for() -> None:
    clock = Clock()
    with serve(LAST) as server:
        transport = connect(server.url, clock)
        assert transport.call("GET", "/x") == [1]
    with pytest.raises(Unavailable) as caught:
        transport.call("GET", "/x")
    transport.close()
    assert caught.value.kind == "registry-unreachable"
    assert len(clock.pauses) == 10


def test_store_is_waited_for_once_the_registry_has_named_it() -> None:
    clock = Clock()
    with serve(LAST) as server:
        transport = connect(server.url, clock)
        transport.call("GET", "/x")
        away = SignedRequest("PUT", f"http://127.0.0.1:{free_port()}/object", {})
        with pytest.raises(Unavailable):
            transport.send(away, Body(1, lambda: iter([b"x"])), headers={})
        transport.close()
    assert len(clock.pauses) == 10


def test_call_that_would_do_harm_twice_is_sent_once() -> None:
    clock = Clock()
    with serve(BUSY) as server:
        transport = connect(server.url, clock)
        with pytest.raises(Unavailable):
            transport.call("POST", "/x")
        transport.close()
    assert clock.pauses == []


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
