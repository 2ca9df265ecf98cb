"""The sender against real receivers on this machine, the ill-behaved above all."""

import socket
import threading
import time
from typing import Any

import pytest

from plait_registry.adapters.webhook_sender import HttpWebhookSender
from plait_registry.domain.webhooks import Attempt
from reference.scripted_server import Answer, serve
from served.receivers import (
    Behaviour,
    drip,
    flood,
    hang_up,
    receiving,
    repeat_continue,
    speak_nonsense,
    stall,
)

BODY = b'{"kind":"push"}'
HEADERS = {"Content-Type": "application/json", "X-Plait-Event": "push"}


def send(url: str, *, allow_private: bool = True, longest_s: float = 10.0) -> Attempt:
    sender = HttpWebhookSender(allow_private=allow_private, longest_s=longest_s)
    return sender.send(url, HEADERS, BODY)


def test_event_arrives_as_it_was_given() -> None:
    with serve(Answer(204, b"")) as server:
        assert send(f"{server.url}/hook?key=1") == Attempt(204, None)
        [received] = server.received
        assert (received.method, received.path, received.body) == ("POST", "/hook?key=1", BODY)
        assert received.headers["x-plait-event"] == "push"
        assert received.headers["content-length"] == str(len(BODY))
        assert received.headers["host"] == server.url.removeprefix("http://")
        assert received.headers["user-agent"].startswith("plait/")


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_refusal_is_a_failure_with_its_status(status: int) -> None:
    with serve(Answer(status)) as server:
        assert send(server.url) == Attempt(status, f"The receiver answered with status {status}.")


def test_redirect_is_not_followed() -> None:
    with serve() as other, serve(Answer(307, headers={"Location": other.url})) as server:
        attempt = send(server.url)
        assert attempt.status == 307
        assert "redirects" in str(attempt.error)
        assert other.received == []


@pytest.mark.parametrize("behave", [stall, drip, repeat_continue])
def test_receiver_that_takes_for_ever_is_left(behave: Behaviour) -> None:
    with receiving(behave) as url:
        begun = time.monotonic()
        attempt = send(url, longest_s=0.5)
        assert time.monotonic() - begun < 5
    assert attempt.status is None
    assert attempt.error == "There was no answer within 0.5 seconds."


def test_huge_answer_is_not_read_and_counts_by_its_status() -> None:
    with receiving(flood) as url:
        assert send(url) == Attempt(200, None)


def test_huge_answer_with_a_length_counts_by_its_status() -> None:
    with serve(Answer(200, b"a" * 3_000_000)) as server:
        assert send(server.url) == Attempt(200, None)


@pytest.mark.parametrize("behave", [speak_nonsense, hang_up])
def test_receiver_that_speaks_no_http_is_a_failure(behave: Behaviour) -> None:
    with receiving(behave) as url:
        attempt = send(url)
    assert attempt.status is None
    assert "cannot be reached" in str(attempt.error)


def test_receiver_that_is_not_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    attempt = send(f"http://127.0.0.1:{port}/")
    assert attempt.status is None
    assert "cannot be reached" in str(attempt.error)


def test_receiver_without_tls_fails_where_tls_is_asked_for() -> None:
    with serve() as server:
        attempt = send(server.url.replace("http:", "https:"))
        assert attempt.status is None
        assert "cannot be reached" in str(attempt.error)


def test_name_that_leads_into_the_network_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve() as server:
        port = int(server.url.rpartition(":")[2])
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: answer)
        attempt = send("https://innocent.example.org/", allow_private=False)
        assert attempt.status is None
        assert "innocent.example.org is no address of the public internet" in str(attempt.error)
        assert server.received == []


def test_only_the_addresses_that_were_checked_are_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    connected: list[Any] = []

    def resolve(host: str, port: int, **_options: object) -> list[Any]:
        asked.append(host)
        addresses = [("10.0.0.1", port), ("1.1.1.1", port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    def connect(_sock: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    assert send("https://two.example.org/", allow_private=False).status is None
    assert asked == ["two.example.org"]
    assert connected == [("1.1.1.1", 443)]


def test_name_that_takes_for_ever_to_resolve_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def resolve(*_args: object, **_options: object) -> list[Any]:
        released.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    begun = time.monotonic()
    try:
        attempt = send("https://slow.example.org/", allow_private=False, longest_s=0.2)
    finally:
        released.set()
    assert time.monotonic() - begun < 5
    assert attempt == Attempt(None, "There was no answer within 0.2 seconds.")


def test_name_without_an_address_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_args: object, **_options: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    attempt = send("https://nowhere.example.org/", allow_private=False)
    assert attempt == Attempt(None, "The receiver cannot be reached (Name or service not known).")


def test_private_url_of_a_webhook_from_before_the_setting_changed_is_refused() -> None:
    with serve() as server:
        attempt = send(server.url, allow_private=False)
        assert "https" in str(attempt.error)
        assert server.received == []
