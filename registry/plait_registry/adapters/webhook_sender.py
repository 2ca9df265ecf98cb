"""Sending to webhooks over HTTP, by the standard library.

Receivers are strangers, and so is who named them:

- The address is checked after its name was resolved, and that very address is connected to: a name
  that answers differently the second time leads nowhere else.
- Redirects are not followed: they would lead past that check.
- All of an attempt takes ten seconds at most, however slowly names are resolved or the receiver
  drips.
- Nothing of what it answers is kept but the status. No proxy is used.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, cast

from typing_extensions import Buffer, override

from plait import __version__
from plait.errors import InvalidInput
from plait_registry.domain.webhook_address import (
    WebhookUrl,
    is_public,
    parse_url,
    private_address,
)
from plait_registry.domain.webhooks import Attempt, WebhookSender

LONGEST_S = 10.0
LARGEST_ANSWER = 16 * 1024
"""Bytes that are read before the connection is closed, so that the receiver is not cut off."""

_Address = tuple[int, tuple[Any, ...]]
"""A family of addresses, and one of them as sockets take it."""


class HttpWebhookSender(WebhookSender):
    """Posts to receivers; safe to use from several threads."""

    def __init__(self, *, allow_private: bool, longest_s: float = LONGEST_S) -> None:
        self._allow_private = allow_private
        self._longest_s = longest_s
        self._tls = ssl.create_default_context()

    @override
    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        try:
            # Again: the registry may be run with other settings than when the webhook was made.
            parts = parse_url(url, allow_private=self._allow_private)
            status = self._post(parts, headers, body)
        except InvalidInput as error:
            return Attempt(None, error.message)
        except TimeoutError:
            return Attempt(None, f"There was no answer within {self._longest_s:g} seconds.")
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            return Attempt(None, f"The receiver cannot be reached ({_reason(error)}).")
        if 200 <= status < 300:
            return Attempt(status, None)
        if 300 <= status < 400:
            return Attempt(status, f"The receiver redirects ({status}): name its final address.")
        return Attempt(status, f"The receiver answered with status {status}.")

    def _post(self, parts: WebhookUrl, headers: Mapping[str, str], body: bytes) -> int:
        deadline = _Deadline(self._longest_s)
        addresses = self._resolve(parts.host, parts.port, deadline)
        with _connect(addresses, deadline) as plain:
            if parts.scheme == "https":
                plain.settimeout(deadline.left())
                with self._tls.wrap_socket(plain, server_hostname=parts.host) as secure:
                    return _exchange(secure, parts, headers, body, deadline)
            return _exchange(plain, parts, headers, body, deadline)

    def _resolve(self, host: str, port: int, deadline: _Deadline) -> list[_Address]:
        addresses = _look_up(host, port, deadline)
        if self._allow_private:
            return addresses
        # A scope, as in fe80::1%eth0, names an interface of this machine.
        public = [
            (family, address)
            for family, address in addresses
            if is_public(ipaddress.ip_address(str(address[0]).partition("%")[0]))
        ]
        if not public:
            raise private_address(host)
        return public


class _Deadline:
    """The end of an attempt."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return how many seconds are left.

        Raises:
            TimeoutError: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Timed(io.RawIOBase):
    """What a socket receives until the deadline; in the place of a socket for `HTTPResponse`."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the stream that the response is read from."""
        return io.BufferedReader(self)

    @override
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Receive what comes next; a timeout for each piece would let them come for ever."""
        self._sock.settimeout(self._deadline.left())
        return self._sock.recv_into(buffer)


def _look_up(host: str, port: int, deadline: _Deadline) -> list[_Address]:
    """Return the addresses of a name, by a thread of its own.

    The system's resolver takes no limit of time, and whoever named the host may run the server that
    is asked. A thread that is left behind ends when the resolver gives up, after some retries.
    """
    answers: queue.SimpleQueue[list[_Address] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.put(error)
        else:
            answers.put([(family, address) for family, _, _, _, address in found])

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _connect(addresses: list[_Address], deadline: _Deadline) -> socket.socket:
    failure: OSError = OSError("its name has no address")
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left())
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _exchange(
    sock: socket.socket,
    parts: WebhookUrl,
    headers: Mapping[str, str],
    body: bytes,
    deadline: _Deadline,
) -> int:
    """Send the request and return the status of the answer."""
    sent = {
        "Host": parts.origin,
        "User-Agent": f"plait/{__version__}",
        "Connection": "close",
        **headers,
    }
    connection = http.client.HTTPConnection(parts.host)
    connection.sock = sock
    sock.settimeout(deadline.left())
    connection.request("POST", parts.path, body=body, headers=sent)
    response = http.client.HTTPResponse(
        cast("socket.socket", _Timed(sock, deadline)), method="POST"
    )
    response.begin()
    # The status is what counts, also where the rest does not come.
    with contextlib.suppress(OSError, http.client.HTTPException):
        response.read(LARGEST_ANSWER)
    return response.status


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
