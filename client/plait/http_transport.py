"""The transport over HTTP: retries, errors, and what may be said to whom.

- Repeated with growing, random pauses: what was lost or stalled on the way (408) or met a busy
  server (429, 502, 503, 504, whose Retry-After is honoured, and what object stores call by other
  names), if doing it twice does no harm; never a full disk. A transfer outlasts a registry or a
  store that is away for some 15 s; a registry that never answered is soon said to be unreachable.
- Redirects are not followed: a token or a body must not end up where nobody meant it to go.
- An error names the server and the path, never a query: that is where signatures are.
"""

from __future__ import annotations

import json
import random
import re
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from plait import __version__
from plait.errors import (
    AlreadyExists,
    Conflict,
    Integrity,
    Internal,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PlaitError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    error_from_json,
)
from plait.http_connections import ConnectionLost, Connections, Content, Exchange, Timeouts
from plait.model import canonical
from plait.model.byte_range import find_range, write_range
from plait.transport import PIECE_SIZE, Body, Query
from plait.wire import REQUEST_ID_HEADER, SignedRequest

LARGEST_ANSWER = 256 << 20
"""Bytes of a JSON answer; a hundred manifests of the largest size would be too much at once."""
LARGEST_ERROR = 1 << 20
LONGEST_RETRY_AFTER = 60.0
BUSY = frozenset({408, 429, 502, 503, 504})

PASSING_CODES = frozenset(
    {
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "SlowDown",
    }
)
"""What object stores answer, with other statuses, to a request that may succeed when repeated."""
WRONG_BYTES = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})

CLASS_OF_STATUS: Mapping[int, type[PlaitError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    405: NotFound,
    409: Conflict,
    412: AlreadyExists,
    413: TooLarge,
    422: InvalidInput,
    500: Internal,
}
"""For errors of a kind that this client does not know; all others are Unavailable."""

T = TypeVar("T")

_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,60})</Code>")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often to try, and how long to pause before each further attempt.

    The defaults outlast a database, a store or a registry that restarts: about 30 s of pauses.
    """

    attempts: int = 11
    first_contact: int = 3
    """Attempts to reach a server at all, while none has answered yet: the address may be wrong."""
    first_pause: float = 0.2
    """Seconds; doubled each time."""
    longest_pause: float = 5.0
    patience: float = 60.0
    """Seconds after the first failure in which a further attempt may begin: where each takes long
    to fail, few are enough."""
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    """Returns 0 to 1: many clients that were cut off together do not come back together."""
    clock: Callable[[], float] = time.monotonic

    def pause(self, attempt: int, at_least: float) -> None:
        """Wait before the attempt after `attempt` (1 is the first)."""
        backoff = min(self.longest_pause, self.first_pause * 2 ** (attempt - 1))
        wait = backoff * (0.5 + self.jitter())
        self.sleep(max(wait, min(at_least, LONGEST_RETRY_AFTER)))


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How an `HttpTransport` behaves; the defaults suit people and CI."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    proxies: Mapping[str, str] = field(default_factory=dict)
    """By scheme, as `{"https": "http://proxy:3128", "no": "localhost,.internal"}`."""


class HttpTransport:
    """A registry at an http or https address.

    Raises:
        InvalidInput: the token cannot be one.
    """

    def __init__(self, url: str, token: str | None, options: HttpOptions | None = None) -> None:
        if token is not None and not (token.isascii() and token.isprintable()):
            # Checked here, since the library's own error would quote the token.
            raise InvalidInput("invalid-input", "The access token has characters that none has.")
        self._url = url.rstrip("/")
        self._token = token
        options = options or HttpOptions()
        self._retries = options.retries
        self._connections = Connections(options.timeouts, options.proxies)
        self._was_answered = False

    @property
    def url(self) -> str:
        """The registry's address, without a slash at the end."""
        return self._url

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        patience: float | None = None,
        repeatable: bool = False,
    ) -> Any:
        """Return the parsed JSON answer; see `Transport.call`."""
        headers = {"Accept": "application/json", **_common_headers()}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = _write_json(body)
        url = f"{self._url}{path}{_encode_query(query)}"

        def attempt() -> bytes:
            exchange = self._connections.begin(
                method, url, headers=headers, content=content, patience=patience
            )
            return self._read_answer(exchange)

        answer = self._repeat(attempt, url, repeatable=repeatable or method == "GET")
        try:
            return canonical.loads(answer) if answer else None
        except InvalidInput as error:
            raise Unavailable(
                "registry-misbehaved",
                f"{self._url} answered something that is not JSON: is the address right?",
            ) from error

    def send(self, request: SignedRequest, body: Body, *, headers: Mapping[str, str]) -> None:
        """Send `body` by a signed PUT; see `Transport.send`."""
        url = self._absolute(request.url)
        signed = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        sent = {**_common_headers(), **signed, **headers, "Content-Length": str(body.size)}

        def attempt() -> None:
            content: Content = body.open() if body.size else b""
            exchange = self._connections.begin(request.method, url, headers=sent, content=content)
            self._read_answer(exchange, is_signed=True)

        self._repeat(attempt, url, repeatable=True)

    def receive(self, request: SignedRequest, start: int, stop: int) -> Iterator[memoryview]:
        """Yield a range of an object; see `Transport.receive`."""
        url = self._absolute(request.url)
        signed = {name.lower(): value for name, value in request.headers.items()}
        begin, end = _find_signed(signed.get("range"), start, stop)
        sent = {**_common_headers(), **signed, "range": write_range(begin, end)}

        def attempt() -> Exchange:
            exchange = self._connections.begin(request.method, url, headers=sent)
            if exchange.response.status >= 300:
                self._read_answer(exchange, is_signed=True)
            return exchange

        exchange = self._repeat(attempt, url, repeatable=True)
        try:
            _verify_range(exchange, begin, end)
            yield from _read_pieces(exchange, stop - begin, skipped=start - begin)
        except ConnectionLost as error:
            raise _unreachable(url, error) from error
        finally:
            self._connections.end(exchange)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._connections.close()

    def _absolute(self, url: str) -> str:
        return f"{self._url}{url}" if url.startswith("/") else url

    def _read_answer(self, exchange: Exchange, *, is_signed: bool = False) -> bytes:
        """Return the body of a good answer, or raise what a bad one says."""
        response = exchange.response
        try:
            if 200 <= response.status < 300:
                return _read_whole(response)
            body = response.read(LARGEST_ERROR)
        finally:
            self._connections.end(exchange)
        code = _find_code(body) if is_signed else ""
        raise _Refused(_read_error(exchange, body, code, is_signed=is_signed), exchange, code)

    def _repeat(self, attempt: Callable[[], T], url: str, *, repeatable: bool) -> T:
        tries = _Tries(self._retries)
        while True:
            wait = 0.0
            try:
                answer = attempt()
            except _Refused as refused:
                self._was_answered = True
                if not (repeatable and refused.is_passing and tries.may_go_on()):
                    raise refused.error from None
                wait = refused.retry_after
            except ConnectionLost as error:
                most = None if self._was_answered else self._retries.first_contact
                if not (repeatable and tries.may_go_on(most)):
                    raise _unreachable(url, error) from error
            else:
                self._was_answered = True
                return answer
            self._retries.pause(tries.failed, wait)


class _Tries:
    """Counts the failures of one request."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._first_failure: float | None = None
        self.failed = 0

    def may_go_on(self, most: int | None = None) -> bool:
        """Note a failure, and return whether to try again; `most` is another limit."""
        self.failed += 1
        limit = self._retries.attempts if most is None else min(most, self._retries.attempts)
        now = self._retries.clock()
        if self._first_failure is None:
            self._first_failure = now
        return self.failed < limit and now - self._first_failure <= self._retries.patience


class _Refused(Exception):
    """An answer that is an error, on its way to the loop that may try again."""

    def __init__(self, error: PlaitError, exchange: Exchange, code: str) -> None:
        super().__init__(error.message)
        self.error = error
        # A disk gets no room by itself: whoever waits for that should know what for.
        is_busy = exchange.response.status in BUSY or code in PASSING_CODES
        self.is_passing = is_busy and error.kind != "disk-full"
        text = exchange.response.getheader("Retry-After", "")
        self.retry_after = float(text) if text.isascii() and text.isdigit() else 0.0


def _read_whole(response: HTTPResponse) -> bytes:
    body = response.read(LARGEST_ANSWER)
    if not response.isclosed():
        if response.read(1):
            raise Unavailable("registry-misbehaved", "The registry's answer is too large to read.")
        if response.length:
            raise ConnectionResetError("The connection was lost in the middle of the answer.")
    return body


def _read_error(exchange: Exchange, body: bytes, code: str, *, is_signed: bool) -> PlaitError:
    status = exchange.response.status
    where = str(exchange.origin)
    if 300 <= status < 400:
        target = urlsplit(exchange.response.getheader("Location", ""))
        return Unavailable(
            "registry-misbehaved",
            f"{where} redirects to {target.scheme}://{target.netloc}: if that is the registry, use "
            "its address.",
        )
    try:
        document = canonical.loads(body)
    except InvalidInput:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        return error_from_json(document, fallback=CLASS_OF_STATUS.get(status, Unavailable))
    if is_signed:
        return _read_store_error(status, code, body, where)
    fallback = CLASS_OF_STATUS.get(status, Unavailable)
    return fallback(
        "registry-misbehaved",
        f"{where} answered with status {status} and no explanation: is it a plait registry?",
    )


def _find_code(body: bytes) -> str:
    """Return the code of an object store's error, which is XML; empty where there is none."""
    match = _CODE.search(body)
    return match[1].decode("ascii") if match else ""


def _read_store_error(status: int, code: str, body: bytes, where: str) -> PlaitError:
    """Translate an object store's answer."""
    if status == 412:
        return AlreadyExists("object-exists", "The object is in the store already.")
    if code == "NoSuchUpload":
        return NotFound("upload-not-found", f"{where} no longer has the parts: push again.")
    if status == 404:
        return NotFound("object-not-found", f"{where} does not have the object.")
    if code in WRONG_BYTES:
        return Integrity("digest-mismatch", f"{where} received other bytes than were announced.")
    if status in {400, 401, 403} and code not in PASSING_CODES:
        # A store tells an expired signature from a wrong one in words of its own.
        kind = "signed-url-expired" if b"xpired" in body else "signed-url-invalid"
        return PermissionDenied(kind, f"{where} does not accept the signed request.")
    named = f" ({code})" if code else ""
    return Unavailable("unavailable", f"{where} answered with status {status}{named}.")


def _find_signed(header: str | None, start: int, stop: int) -> tuple[int, int]:
    """Return the range to ask for: the one that is signed, or exactly what is wanted."""
    begin, end = (start, stop) if header is None else find_range(header) or (0, 0)
    if not begin <= start <= stop <= end:
        raise Unavailable(
            "registry-misbehaved", "The registry signed another range than the file's: try again."
        )
    return begin, end


def _verify_range(exchange: Exchange, start: int, stop: int) -> None:
    response = exchange.response
    expected = f"bytes {start}-{stop - 1}/"
    is_range = response.status == 206 and response.getheader("Content-Range", "").startswith(
        expected
    )
    is_whole = response.status == 200 and start == 0
    if response.length != stop - start or not (is_range or is_whole):
        raise Unavailable(
            "registry-misbehaved", f"{exchange.origin} answered with another range than asked for."
        )


def _read_pieces(exchange: Exchange, size: int, *, skipped: int) -> Iterator[memoryview]:
    """Yield the first `size` bytes of an answer but for the first `skipped` ones."""
    buffer = memoryview(bytearray(min(PIECE_SIZE, size)))
    left = size
    while left:
        count = exchange.response.readinto(buffer[: min(left, len(buffer))])
        if not count:
            raise ConnectionResetError(f"The connection was lost {left} bytes before the end.")
        left -= count
        unwanted = min(skipped, count)
        skipped -= unwanted
        if unwanted < count:
            yield buffer[unwanted:count]


def _unreachable(url: str, error: Exception) -> Unavailable:
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unavailable(
            "registry-unreachable",
            f"The certificate of {where} is not trusted ({error.verify_message}). If a company's "
            "own authority signed it, install that on this machine, or name it in SSL_CERT_FILE.",
            address=where,
        )
    return Unavailable(
        "registry-unreachable",
        f"Cannot reach {where} ({_reason(error)}). Is the registry running there? `plait-registry "
        "serve` starts one on this machine; PLAIT_URL or --url names another.",
        address=where,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or "no answer"


def _write_json(value: Any) -> bytes:
    try:
        return json.dumps(
            value, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput("invalid-json", f"Not expressible in JSON: {error}.") from error


def _common_headers() -> dict[str, str]:
    return {"User-Agent": f"plait/{__version__}", REQUEST_ID_HEADER: uuid.uuid4().hex}


def _encode_query(query: Query | None) -> str:
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return f"?{urlencode(given, doseq=True)}" if given else ""
