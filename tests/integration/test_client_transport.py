"""The HTTP transport against a server that misbehaves on command."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from plait import __version__
from plait.errors import (
    AlreadyExists,
    Conflict,
    Integrity,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PlaitError,
    Unavailable,
)
from plait.http_connections import Timeouts
from plait.http_transport import HttpOptions, HttpTransport, Retries
from plait.transport import Body
from plait.wire import REQUEST_ID_HEADER, SignedRequest
from reference.scripted_server import Answer, ScriptedServer, serve

TOKEN = "plait_secret_token"
CONFLICT = b'{"error": {"kind": "diverged", "message": "Pull first.", "details": {"ours": "a"}}}'


class Pauses:
    """Notes how long the transport wanted to wait, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def options(pauses: Pauses) -> HttpOptions:
    retries = Retries(attempts=3, first_pause=1.0, sleep=pauses, jitter=lambda: 0.5)
    return HttpOptions(Timeouts(connect=5, read=5), retries)


@contextmanager
def talk(options: HttpOptions, *script: Answer) -> Iterator[tuple[ScriptedServer, HttpTransport]]:
    with serve(*script) as server, opened(server, options) as transport:
        yield server, transport


@contextmanager
def opened(server: ScriptedServer, options: HttpOptions) -> Iterator[HttpTransport]:
    transport = HttpTransport(server.url, TOKEN, options)
    try:
        yield transport
    finally:
        transport.close()


def body(data: bytes = b"weights", opened: list[int] | None = None) -> Body:
    def pieces() -> Iterator[bytes]:
        if opened is not None:
            opened.append(1)
        for first in range(0, len(data), 1 << 16):
            yield data[first : first + (1 << 16)]

    return Body(len(data), pieces)


def put(url: str = "/objects/x?signature=SIGNED", **headers: str) -> SignedRequest:
    return SignedRequest("PUT", url, headers)


def get(url: str = "/objects/x?signature=SIGNED") -> SignedRequest:
    return SignedRequest("GET", url, {})


def test_call_sends_the_token_json_and_who_asks(options: HttpOptions) -> None:
    with talk(options, Answer(body=b'{"a": 1}')) as (server, transport):
        answer = transport.call("POST", "/x", query={"q": "a b", "n": None}, body={"k": "\u00e9"})
    assert answer == {"a": 1}
    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/x?q=a+b")
    assert request.body == '{"k":"\u00e9"}'.encode()
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["user-agent"] == f"plait/{__version__}"
    assert len(request.headers[REQUEST_ID_HEADER.lower()]) == 32


def test_empty_answer_is_none(options: HttpOptions) -> None:
    with talk(options, Answer(204, b"")) as (_server, transport):
        assert transport.call("DELETE", "/x") is None


def test_connection_is_used_again(options: HttpOptions) -> None:
    with talk(options) as (server, transport):
        for _ in range(3):
            transport.call("GET", "/x")
    assert len({request.connection for request in server.received}) == 1


def test_many_threads_share_one_transport(options: HttpOptions) -> None:
    with talk(options, Answer(body=b"[1]")) as (_server, transport):
        answers: list[object] = []

        def ask() -> None:
            answers.extend(transport.call("GET", "/x")[0] for _ in range(5))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [1] * 40


def test_error_of_the_registry_is_raised_as_its_class(options: HttpOptions) -> None:
    with (
        talk(options, Answer(409, CONFLICT)) as (server, transport),
        pytest.raises(Conflict) as caught,
    ):
        transport.call("POST", "/x", repeatable=True)
    assert (caught.value.kind, caught.value.details) == ("diverged", {"ours": "a"})
    assert len(server.received) == 1


def test_error_of_an_unknown_kind_has_the_class_of_its_status(options: HttpOptions) -> None:
    news = b'{"error": {"kind": "from-the-future", "message": "New.", "details": {}}}'
    with (
        talk(options, Answer(404, news)) as (_server, transport),
        pytest.raises(NotFound) as caught,
    ):
        transport.call("GET", "/x")
    assert caught.value.kind == "from-the-future"


@pytest.mark.parametrize("status", [408, 502, 503, 504, 429])
def test_busy_server_is_asked_again(status: int, options: HttpOptions, pauses: Pauses) -> None:
    script = [Answer(status, b"busy"), Answer(status, b"busy"), Answer(body=b"[7]")]
    with talk(options, *script) as (server, transport):
        assert transport.call("GET", "/x") == [7]
    assert pauses.seconds == [1.0, 2.0]
    ids = [request.headers[REQUEST_ID_HEADER.lower()] for request in server.received]
    assert ids == [ids[0]] * 3


def test_retry_after_is_honoured(options: HttpOptions, pauses: Pauses) -> None:
    script = [Answer(429, b"", {"Retry-After": "7"}), Answer(503, b"", {"Retry-After": "9999"})]
    with talk(options, *script, Answer()) as (_server, transport):
        transport.call("GET", "/x")
    assert pauses.seconds == [7.0, 60.0]


def test_post_is_not_repeated_unless_it_says_so(options: HttpOptions, pauses: Pauses) -> None:
    with talk(options, Answer(503, b"")) as (server, transport):
        with pytest.raises(Unavailable):
            transport.call("POST", "/x")
        assert len(server.received) == 1
        with pytest.raises(Unavailable):
            transport.call("POST", "/x", repeatable=True)
    assert len(server.received) == 4


def test_internal_error_is_not_repeated(options: HttpOptions, pauses: Pauses) -> None:
    with (
        talk(options, Answer(500, b"oops")) as (_server, transport),
        pytest.raises(PlaitError) as caught,
    ):
        transport.call("GET", "/x")
    assert caught.value.kind == "registry-misbehaved"
    assert pauses.seconds == []


def test_lost_connection_is_taken_up_again(options: HttpOptions) -> None:
    script = [Answer(hangs_up=True), Answer(body=b"[1, 2", length=6), Answer(body=b"[3]")]
    with talk(options, *script) as (_server, transport):
        assert transport.call("GET", "/x") == [3]


def test_nobody_there_says_where_and_what_to_do(options: HttpOptions) -> None:
    with serve() as server:
        url = server.url
    transport = HttpTransport(url, TOKEN, options)
    with pytest.raises(Unavailable, match=f"Cannot reach {url}.*plait-registry serve") as caught:
        transport.call("GET", "/x")
    assert caught.value.kind == "registry-unreachable"


def test_answer_that_is_no_json_is_the_wrong_address(options: HttpOptions) -> None:
    with (
        talk(options, Answer(body=b"<html>")) as (_server, transport),
        pytest.raises(Unavailable, match="address") as caught,
    ):
        transport.call("GET", "/x")
    assert caught.value.kind == "registry-misbehaved"


def test_redirect_is_not_followed(options: HttpOptions) -> None:
    with serve() as elsewhere:
        moved = Answer(302, b"", {"Location": f"{elsewhere.url}/login?secret=1"})
        with (
            talk(options, moved) as (_server, transport),
            pytest.raises(Unavailable, match=f"redirects to {elsewhere.url}:") as caught,
        ):
            transport.call("GET", "/x")
        assert elsewhere.received == []
    assert "secret" not in str(caught.value)


def test_nan_is_refused_before_it_is_sent(options: HttpOptions) -> None:
    with serve() as server, opened(server, options) as transport, pytest.raises(InvalidInput):
        transport.call("POST", "/x", body={"loss": float("nan")})
    assert server.received == []


def test_signed_request_carries_its_headers_and_no_token(options: HttpOptions) -> None:
    with (
        serve(Answer(200, b"")) as elsewhere,
        talk(options, Answer(200, b"")) as (server, transport),
    ):
        transport.send(put(**{"x-signed": "1"}), body(), headers={"x-own": "2"})
        transport.send(put(f"{elsewhere.url}/bucket/x?sig=1"), body(), headers={})
    for request in (server.received[0], elsewhere.received[0]):
        assert request.body == b"weights"
        assert "authorization" not in request.headers
    assert server.received[0].headers["x-signed"] == "1"
    assert server.received[0].headers["x-own"] == "2"
    assert server.received[0].path == "/objects/x?signature=SIGNED"


def test_signed_length_is_not_sent_twice(options: HttpOptions) -> None:
    with talk(options, Answer(200, b"")) as (server, transport):
        transport.send(put(**{"content-length": "7"}), body(), headers={})
    assert server.received[0].body == b"weights"


@pytest.mark.parametrize("token", ["sec\nret", "sec\u00e9ret"])
def test_impossible_token_is_refused_without_being_quoted(token: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        HttpTransport("http://127.0.0.1:1", token)
    assert "sec" not in str(caught.value)


def test_body_is_read_anew_for_each_attempt(options: HttpOptions) -> None:
    opens: list[int] = []
    script = [Answer(503, b""), Answer(hangs_up=True), Answer(200, b"")]
    with talk(options, *script) as (server, transport):
        transport.send(put(), body(opened=opens), headers={})
    assert len(opens) == 3
    assert server.received[-1].body == b"weights"


def test_empty_body_is_sent(options: HttpOptions) -> None:
    with talk(options, Answer(200, b"")) as (server, transport):
        transport.send(put(), body(b""), headers={})
    assert server.received[0].headers["content-length"] == "0"


def test_store_that_refuses_before_reading_is_heard(options: HttpOptions) -> None:
    refusal = Answer(412, b"<Error/>", reads_body=False)
    with talk(options, refusal) as (_server, transport), pytest.raises(AlreadyExists):
        transport.send(put(), body(bytes(8 << 20)), headers={})


@pytest.mark.parametrize(
    ("status", "text", "error", "kind"),
    [
        (412, b"<Error/>", AlreadyExists, "object-exists"),
        (400, b"<Error><Code>BadDigest</Code></Error>", Integrity, "digest-mismatch"),
        (403, b"<Message>Request has expired</Message>", PermissionDenied, "signed-url-expired"),
        (403, b"<Code>SignatureDoesNotMatch</Code>", PermissionDenied, "signed-url-invalid"),
        (400, b"<Code>XAmzContentSHA256Mismatch</Code>", Integrity, "digest-mismatch"),
        (400, b"<Code>ExpiredToken</Code>", PermissionDenied, "signed-url-expired"),
        (403, b"<Code>AccessDenied</Code>", PermissionDenied, "signed-url-invalid"),
        (404, b"<Code>NoSuchKey</Code>", NotFound, "object-not-found"),
        (404, b"<Code>NoSuchUpload</Code>", NotFound, "upload-not-found"),
        (400, b"<Code>RequestTimeout</Code>", Unavailable, "unavailable"),
        (409, b"<Code>ConditionalRequestConflict</Code>", Unavailable, "unavailable"),
        (503, b"<Code>SlowDown</Code>", Unavailable, "unavailable"),
        (507, b"", Unavailable, "unavailable"),
    ],
)
def test_answers_of_an_object_store_become_errors(
    status: int, text: bytes, error: type[PlaitError], kind: str, options: HttpOptions
) -> None:
    with (
        talk(options, Answer(status, text)) as (_server, transport),
        pytest.raises(error) as caught,
    ):
        transport.send(put(), body(), headers={})
    assert caught.value.kind == kind
    assert "SIGNED" not in str(caught.value)


def receive(transport: HttpTransport, start: int, stop: int) -> bytes:
    return b"".join(bytes(piece) for piece in transport.receive(get(), start, stop))


def test_range_is_received(options: HttpOptions) -> None:
    part = Answer(206, b"cde", {"Content-Range": "bytes 2-4/9"})
    with talk(options, part) as (server, transport):
        assert receive(transport, 2, 5) == b"cde"
        assert receive(transport, 2, 5) == b"cde"
    assert server.received[0].headers["range"] == "bytes=2-4"
    assert "authorization" not in server.received[0].headers
    assert len({request.connection for request in server.received}) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"abc"),
        Answer(206, b"abc", {"Content-Range": "bytes 0-2/9"}),
        Answer(206, b"cdef", {"Content-Range": "bytes 2-4/9"}),
    ],
)
def test_another_range_than_asked_for_is_refused(answer: Answer, options: HttpOptions) -> None:
    with (
        talk(options, answer) as (_server, transport),
        pytest.raises(Unavailable, match="another range"),
    ):
        receive(transport, 2, 5)


SPAN = SignedRequest("GET", get().url, {"Range": "bytes=2-7"})


@pytest.mark.parametrize(
    ("start", "stop", "wanted"), [(2, 8, b"cdefgh"), (4, 6, b"ef"), (7, 8, b"h"), (2, 3, b"c")]
)
def test_request_for_one_range_is_sent_as_it_is_signed(
    start: int, stop: int, wanted: bytes, options: HttpOptions
) -> None:
    span = Answer(206, b"cdefgh", {"Content-Range": "bytes 2-7/9"})
    with talk(options, span) as (server, transport):
        assert b"".join(bytes(piece) for piece in transport.receive(SPAN, start, stop)) == wanted
    assert server.received[0].headers["range"] == "bytes=2-7"


@pytest.mark.parametrize(("start", "stop"), [(1, 3), (2, 9), (0, 9)])
def test_range_outside_of_the_signed_one_is_not_asked_for(
    start: int, stop: int, options: HttpOptions
) -> None:
    with (
        talk(options, Answer()) as (server, transport),
        pytest.raises(Unavailable, match="another range"),
    ):
        list(transport.receive(SPAN, start, stop))
    assert server.received == []


def test_range_that_ends_early_is_an_error(options: HttpOptions) -> None:
    torn = Answer(206, b"c", {"Content-Range": "bytes 2-4/9"}, length=3)
    with talk(options, torn) as (_server, transport):
        pieces = transport.receive(get(), 2, 5)
        with pytest.raises(Unavailable):
            b"".join(pieces)


def test_proxy_is_asked_for_plain_http_and_not_for_exceptions(pauses: Pauses) -> None:
    with serve(Answer(body=b'"proxy"')) as proxy, serve(Answer(body=b'"direct"')) as server:
        through = HttpOptions(proxies={"http": proxy.url})
        around = HttpOptions(proxies={"http": proxy.url, "no": "localhost, 127.0.0.1"})
        with opened(server, through) as transport:
            assert transport.call("GET", "/x") == "proxy"
        with opened(server, around) as transport:
            assert transport.call("GET", "/x") == "direct"
    assert proxy.received[0].path == f"{server.url}/x"
