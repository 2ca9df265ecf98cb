"""What happens to every request before it is routed, and after it was answered.

- It gets an id: the caller's, where that is well-formed, else a new one. The answer carries it.
- It leaves one line in the log: method, path, status, milliseconds, id. Never the query, which
  may hold a signature, and no header.
- An exception that nobody foresaw is logged with its traceback; the caller sees none of it.
- The API wants a bearer token, checked before any byte of a body is read.
- A JSON body over the limit is refused while it streams, whatever its Content-Length says.

This is ASGI without a framework, because it must see bodies while they stream.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plait.errors import PlaitError, TooLarge, Unauthenticated
from plait.wire import API_PREFIX, REQUEST_ID_HEADER
from plait_registry.api.asgi import find_header, read_headers, send_error
from plait_registry.api.errors import internal_error

OBJECTS_PREFIX = "/objects/"

_ACCESS = logging.getLogger("plait_registry.access")
_FAULTS = logging.getLogger("plait_registry.faults")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Edge:
    """The outermost ASGI application."""

    api: ASGIApp
    objects: ASGIApp
    """Answers everything under `/objects/`; checks signatures itself."""
    is_token: Callable[[str], bool]
    largest_request: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request_id = _find_request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        begun = time.monotonic()
        try:
            await self._route(scope, receive, answer.send)
        except PlaitError as error:
            await answer.refuse(scope, error)
        except Exception:  # noqa: BLE001 - the outermost edge: nobody else could answer
            _FAULTS.exception("request failed", extra={"request_id": request_id})
            await answer.refuse(scope, internal_error(request_id))
        finally:
            _log_access(scope, answer.status, time.monotonic() - begun, request_id)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(OBJECTS_PREFIX):
            await self.objects(scope, receive, send)
            return
        if path.startswith(f"{API_PREFIX}/"):
            self._verify_token(scope)
        length = find_header(scope, "content-length")
        if length.isdecimal() and int(length[:20]) > self.largest_request:
            raise self._too_large()
        await self.api(scope, self._limited(receive), send)

    def _verify_token(self, scope: Scope) -> None:
        scheme, _, token = find_header(scope, "authorization").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated(
                "token-missing",
                "The registry wants a token: run `plait login`, or set PLAIT_TOKEN.",
            )
        if not self.is_token(token.strip()):
            raise Unauthenticated(
                "unauthenticated",
                "The registry does not know this token: run `plait login` with the current one.",
            )

    def _limited(self, receive: Receive) -> Receive:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.largest_request:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> TooLarge:
        return TooLarge(
            "request-too-large",
            f"The request has more than {self.largest_request} bytes: send less at once, or raise "
            "PLAIT_LARGEST_REQUEST on the registry.",
            limit=self.largest_request,
        )


class _Answer:
    """The answer on its way out: adds the request's id, and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id.encode("ascii")
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            header = (REQUEST_ID_HEADER.lower().encode("ascii"), self._request_id)
            message = {**message, "headers": [*message.get("headers", []), header]}
        await self._send(message)

    async def refuse(self, scope: Scope, error: PlaitError) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status is None:
            await send_error(self.send, error, read_headers(scope))


def _find_request_id(scope: Scope) -> str:
    given = find_header(scope, REQUEST_ID_HEADER)
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _log_access(scope: Scope, status: int | None, seconds: float, request_id: str) -> None:
    _ACCESS.info(
        "request",
        extra={
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "request_id": request_id,
        },
    )
